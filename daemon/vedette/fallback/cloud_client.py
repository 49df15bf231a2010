"""Sends one frame to a detection server: within a deadline, within the budget, and checking every response.

Invariants:
- `detect` ends within `cloud.deadline_s`, whatever the server does; disk writes of the budget are not included.
- The picture that is sent is masked, bounded and without metadata; the budget is charged before anything is sent.
- It shows nothing outside the region of this moment. Once a reload changes the region, the rest is not sent.
- A token that the server refused is not sent again: calls continue only with other content of its file.
- Every failure raises. An empty result means that the server examined the frame and found nothing.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from vedette.errors import CloudError, HttpStatus, RegionChanged
from vedette.fallback.cloud_dialects import DIALECTS, Request, ServerResult
from vedette.fallback.cloud_picture import RedactedJpeg, redacted_jpeg
from vedette.messages.cloud_shapes import DEADLINE_HEADER
from vedette.net.bearer import read_token
from vedette.net.http_client import HttpClient
from vedette.net.timed_socket import CHUNK_BYTES, Deadline
from vedette.types import Detection, DetectionResult, Timing
from vedette.vision.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vedette.config.models import CloudConfig, DetectorConfig
    from vedette.fallback.breaker import Allowance
    from vedette.fallback.cloud_budget import Budget
    from vedette.ports import Clock
    from vedette.types import Box, Frame

ANSWER_BYTES = 256 * 1024
_REFUSED = (401, 403)


class CloudClient:
    """The client of one server. One thread, except `reload`. `cloud` has a url and a token_file."""

    def __init__(self, cloud: CloudConfig, detector: DetectorConfig, roi: Box,
                 budget: Budget, clock: Clock) -> None:
        self._cloud = cloud
        self._dialect = DIALECTS[cloud.dialect]
        self._budget = budget
        self._clock = clock
        self._http = HttpClient(ca_file=cloud.ca_file)
        self._refused_token: str | None = None
        self.sent_bytes = 0     # bodies only, of this run
        self.reload(detector, roi)

    def reload(self, detector: DetectorConfig, roi: Box) -> None:
        """Use the live keys of a reloaded configuration: what is sent, and which results count. Any thread."""
        self.roi = roi
        self._limits = Limits(detector.score_threshold, detector.iou_threshold, detector.max_detections,
                              detector.labels, frozenset(detector.allow), frozenset(detector.deny))

    def left(self) -> tuple[Allowance, ...]:
        """Return what the budget still allows. Any thread."""
        return self._budget.left()

    def detect(self, frame: Frame, *, probe: bool = False) -> DetectionResult:
        """Return the server's detections in a frame. `probe`: the server failed before.

        Raises: HttpError, CloudError, CloudBudgetSpent, RegionChanged.
        """
        deadline = Deadline(self._cloud.deadline_s)
        taken_ns = self._clock.monotonic_ns()
        token = self._token()
        roi = self.roi
        picture = self._picture(frame, roi)
        request = self._dialect.request(picture.content)
        self._budget.charge(len(request.body), probe=probe)
        self.sent_bytes += len(request.body)
        sent_ns = self._clock.monotonic_ns()
        left_ms = self._cloud.deadline_s * 1000 - (sent_ns - taken_ns) / 1e6
        content = self._ask(request, token, deadline, max(1, int(left_ms)), roi)
        answered_ns = self._clock.monotonic_ns()
        seen = self._dialect.read(content, picture.width, picture.height)
        detections = self._ours(seen, picture)
        ready_ns = self._clock.monotonic_ns()
        return DetectionResult(
            frame=frame, detections=detections, model=seen.model, source="cloud", roi=roi,
            timing=Timing(wait_ms=(taken_ns - frame.handed_over_ns) / 1e6, prepare_ms=(sent_ns - taken_ns) / 1e6,
                          invoke_ms=(answered_ns - sent_ns) / 1e6, decode_ms=(ready_ns - answered_ns) / 1e6),
            age_ms=(ready_ns - frame.captured_ns) / 1e6)

    def _token(self) -> str:
        """Read the token again. Raises: CloudError if there is none, or only the one that was refused."""
        path = self._cloud.token_file
        assert path is not None  # noqa: S101 - for the type checker: the configuration was checked
        try:
            token = read_token(path)
        except ValueError as error:
            raise CloudError(str(error)) from error
        if token == self._refused_token:
            raise CloudError(f"{path}: the server refuses this token; nothing is sent until the file holds another")
        return token

    def _picture(self, frame: Frame, roi: Box) -> RedactedJpeg:
        try:
            return redacted_jpeg(frame.pixels, self._cloud.max_jpeg_kb * 1000, roi=roi, masks=self._cloud.masks)
        except ValueError as error:
            raise CloudError(str(error)) from error

    def _ask(self, request: Request, token: str, deadline: Deadline, left_ms: int, roi: Box) -> bytes:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": request.content_type,
                   "Content-Length": str(len(request.body)),
                   "Accept": "application/json", "Idempotency-Key": uuid.uuid4().hex, DEADLINE_HEADER: str(left_ms)}
        try:
            with self._http.request(self._cloud.url or "", deadline=deadline, most_bytes=ANSWER_BYTES, method="POST",
                                    headers=headers, body=self._pieces(request.body, roi)) as answer:
                return b"".join(answer.chunks())
        except HttpStatus as refusal:
            if refusal.status in _REFUSED:
                self._refused_token = token
            raise

    def _pieces(self, body: bytes, roi: Box) -> Iterator[bytes]:
        """Yield the body, as long as the region is the one that its picture shows. Raises: RegionChanged."""
        for start in range(0, len(body), CHUNK_BYTES):
            if self.roi != roi:
                raise RegionChanged("camera.roi was changed: the picture of the old region is not sent")
            yield body[start:start + CHUNK_BYTES]

    def _ours(self, seen: ServerResult, picture: RedactedJpeg) -> tuple[Detection, ...]:
        """Return the detections that count, with the configured labels and boxes of the frame."""
        limits, labels = self._limits, self._cloud.labels
        found = (Detection(labels.get(each.label, each.label), each.class_id, each.score, picture.to_frame(each.box))
                 for each in seen.detections)
        return tuple(each for each in found if _counts(each, limits))[:limits.max_detections]


def _counts(found: Detection, limits: Limits) -> bool:
    return (1.0 if found.score is None else found.score) >= limits.threshold_of(found.label)
