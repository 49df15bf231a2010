"""The last results of this run, and the newest frame as JPEG for those who view it.

Invariants:
- While nobody views, no pixel is copied and nothing is encoded. A result only costs an entry in a bounded list.
- A picture is ordered together with its result, only when the thread of the socket wants one. The camera's own process
  encodes it, because it has OpenCV already. A frame that the camera has no more, such as one from the cloud, is copied,
  and the thread of the socket encodes the copy.
- While somebody waits for a picture, a still frame is due LOOK_S after the last result.
- The detect thread never waits here: `_state` says which thread may go on. A picture that does not come, because its
  process has died, is ordered again after ORDER_S.
- The frame has its masks, so the picture has them.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vedette.messages import payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from vedette.config.page import PageConfig
    from vedette.messages.shapes import DetectionsPayload
    from vedette.ports import Flow, Pictures
    from vedette.types import DetectionResult, RunIdentity

RESULTS_KEPT = 100
DETECTIONS_KEPT = 5000
QUALITY = 75
ORDER_S = 3.0
LOOK_S = 1.0
IDLE, WANTED, ORDERED, COPIED = range(4)


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """A frame without its pixels, as payloads.FrameFacts."""

    seq: int
    width: int
    height: int
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class RecentResult:
    """A result whose frame has no pixels any more. `seq` counts the results of this run, published or not."""

    seq: int
    result: DetectionResult
    dropped: Mapping[str, int]
    clock_synced: bool

    def payload(self, identity: RunIdentity) -> DetectionsPayload:
        """Return the result in the shape of the topic `detections`."""
        return payloads.detections(self.result, device=identity.device, run=identity.run, seq=self.seq,
                                   dropped=self.dropped, clock_synced=self.clock_synced)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as a viewer gets it: its result as JSON, and the JPEG."""

    seq: int
    result: bytes
    jpeg: bytes
    encoded_s: float


class RecentResults:
    """`on_result`: a listener of the pipeline. The rest: the thread of the socket, or any where it says so."""

    def __init__(self, identity: RunIdentity, camera: Pictures, *, flow: Flow,
                 clock_synced: Callable[[], bool]) -> None:
        self.identity = identity
        self.on_copied: Callable[[], None] | None = None
        """Called when a frame was copied or encoded, on any thread. Must not block."""
        self.encoded = 0
        """Frames that were encoded in this run."""
        self.newest: EncodedFrame | None = None
        self._flow = flow
        self._clock_synced = clock_synced
        self._seq = 0
        self._seen_s = 0.0
        self._results: deque[RecentResult] = deque()
        self._detections = 0
        self._state = IDLE
        self._copied: tuple[RecentResult, bytearray | bytes] | None = None
        """A result with the pixels of its frame, or with its JPEG."""
        self._pixels = bytearray()
        self._camera = camera
        self._limits = 0, 0
        self._ordered: RecentResult | None = None
        self._ordered_s = 0.0
        camera.on_picture = self.on_picture

    def __repr__(self) -> str:
        return f"<RecentResults {self._seq} results, {self.encoded} encoded>"

    def on_result(self, result: DetectionResult) -> None:
        """Keep the result, and order a picture of its frame if one is wanted."""
        frame = result.frame
        facts = FrameFacts(frame.seq, frame.width, frame.height, frame.captured_at)
        self._seq, self._seen_s = self._seq + 1, time.monotonic()
        kept = RecentResult(self._seq, replace(result, frame=facts),  # type: ignore[arg-type]  # a payload needs no more
                            self._flow.all_dropped(), self._clock_synced())
        self._results.append(kept)
        self._detections += len(result.detections)
        while len(self._results) > RESULTS_KEPT or (self._detections > DETECTIONS_KEPT and len(self._results) > 1):
            self._detections -= len(self._results.popleft().result.detections)
        if self._state != WANTED:
            return
        self._ordered_s = self._seen_s
        if self._camera.order_picture(frame, *self._limits, QUALITY):
            self._ordered = kept
            self._state = ORDERED
            return
        pixels = self._pixels
        if len(pixels) != frame.pixels.nbytes:
            pixels = self._pixels = bytearray(frame.pixels.nbytes)
        memoryview(pixels)[:] = frame.pixels.cast("B")
        self._have(kept, pixels)

    def on_picture(self, seq: int, jpeg: bytes) -> None:
        """Take the JPEG of the frame `seq`, empty if there is none. Any thread."""
        ordered = self._ordered
        if self._state not in (ORDERED, WANTED) or ordered is None or ordered.result.frame.seq != seq:
            return
        if jpeg:        # also a late one, if no other was ordered meanwhile
            self._have(ordered, jpeg)
        else:
            self._state = IDLE

    def _have(self, kept: RecentResult, content: bytearray | bytes) -> None:
        self._copied = kept, content
        self._state = COPIED
        if self.on_copied is not None:
            self.on_copied()

    def last(self) -> list[RecentResult]:
        """Return the last results, the oldest first. Any thread: a list is made of a deque in one step."""
        return list(self._results)

    def is_due(self) -> bool:
        """Whether the next frame is needed even if nothing moves in it, because somebody waits. Any thread."""
        return self._state == WANTED and time.monotonic() - self._seen_s >= LOOK_S

    def want(self, page: PageConfig) -> None:
        """Have the next frame encoded or copied, for a picture of the size that `page` has."""
        self._limits = page.width, page.height
        if self._state == IDLE or (self._state == ORDERED and time.monotonic() - self._ordered_s > ORDER_S):
            self._state = WANTED

    def encode(self, page: PageConfig) -> float | None:
        """Take the picture, or encode the frame that was copied, once for all viewers.

        Returns when it was ordered or copied, in seconds of the monotonic clock; None if there was none.
        """
        copied = self._copied
        if self._state != COPIED or copied is None:
            return None
        kept, content = copied
        picture = content if isinstance(content, bytes) else _encoded(kept, content, page)
        self.newest = EncodedFrame(kept.seq, payloads.encode(kept.payload(self.identity)), picture, time.monotonic())
        self.encoded += 1
        self._copied = None
        self._state = IDLE
        return self._ordered_s

    def rest(self) -> None:
        """Copy no more, and free the copy: nobody views."""
        self._copied = self._ordered = None
        self._pixels = bytearray()      # a copy that is under way keeps its own, and is dropped here the next time
        self._state = IDLE


def _encoded(kept: RecentResult, content: bytearray, page: PageConfig) -> bytes:
    from vedette.vision import jpeg  # late: it imports OpenCV
    facts: FrameFacts = kept.result.frame  # type: ignore[assignment]  # as in `on_result`
    pixels = memoryview(content).cast("B", (facts.height, facts.width, 3))
    return jpeg.encode_within(pixels, page.width, page.height, QUALITY)
