"""Collects pictures of the camera itself, with which a model is calibrated and compared. The thread is `collect`.

Invariants:
- While it is off, or nothing is to be collected, no pixel is copied and nothing is encoded. Without pictures of an
  earlier run there is no thread either.
- The detect thread only copies a frame, mostly the part that the model sees. What the thread `collect` cannot keep up
  with is replaced and counted.
- Pictures come from masked frames, and show what the model sees: the region, scaled as for the model. After a reload
  that changes what they may show, they are deleted. The new region is collected at once, new masks after the restart.
- Nothing here sends a picture anywhere. A command starts, stops or clears only while `collect.enabled` is true.
- A disk that is full, fails, or never answers, disturbs nothing else. `collect_failed` has the cause.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vedette._lib.latest import Latest
from vedette._lib.worker import Worker
from vedette.config.camera_values import region_of
from vedette.errors import StateUnusable, UsageError
from vedette.types import Scaling
from vedette.vision.geometry import roi_pixels
from vedette.workshop.collection import CANDIDATES, Collection, picture_files
from vedette.workshop.selection import PARTS, Picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from vedette.config.models import Config
    from vedette.config.reload import Reloader
    from vedette.detect.open_model import DetectorOpener
    from vedette.errors import VedetteError
    from vedette.messages.health_shapes import CollectHealth
    from vedette.ports import Clock
    from vedette.types import Box, DetectionResult, ReasonCode
    from vedette.vision.limits import Limits

    Answered = Callable[[VedetteError | None], None]

log = logging.getLogger(__name__)

DOUBT = 0.1
"""A score that is at most this much above its threshold is doubtful."""
EAGER = 10
"""Frames with a doubtful score, or with a label that is rare so far, are considered so many times as often."""
FEW = 5
WAITING_LIMIT = 8
POLL_S = 0.5
TIDY_S = 60.0
"""The folder is tidied so often, and tried again after it failed."""
_SHOWS = frozenset({"camera.masks", "camera.rotate"})
"""Keys that decide what a picture may show, and wait for a restart."""
_LUMA = (0.114, 0.587, 0.299)


@dataclass(frozen=True, slots=True)
class _Copied:
    """A frame's pixels (height, width, 3): RGB in the size of the model's input, or BGR and to be scaled."""

    pixels: memoryview
    scaling: Scaling | None
    roi: Box
    at_s: float
    labels: tuple[str, ...]
    doubtful: bool
    due: bool


class Collector:
    """A ports.ReasonSource. `start`, `stop`, `reload` and `request`: main thread."""

    def __init__(self, config: Config, state_folder: Path, clock: Clock, opener: DetectorOpener, reloader: Reloader,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("collect", self._run, on_end=on_end)
        self.missed = 0
        """Frames that the thread was too slow for."""
        self._collection = Collection(state_folder, _view_of(config), clock)
        self._config = config
        self._clock = clock
        self._opener = opener
        self._reloader = reloader
        self._mailbox: Latest[_Copied] = Latest()
        self._requests: deque[tuple[str, Answered]] = deque()
        self._started = self._wanted = self._is_loaded = False
        self._limits: Limits | None = None
        self._frequent: frozenset[str] = frozenset()
        self._due_s = self._eager_s = 0.0
        self._seen_s: float | None = None
        self._tidy_ns = 0
        self._failure = ""

    def __repr__(self) -> str:
        return f"<Collector {self._collection!r} missed={self.missed} {self._failure}>"

    def on_result(self, result: DetectionResult) -> None:
        """Copy the frame if it is worth considering. A listener of the pipeline."""
        if not self._wanted or result.source != "local" or (at_s := result.frame.scene_s) < self._eager_s:
            return
        doubtful = self._is_doubtful(result)
        due = at_s >= self._due_s
        if not (due or doubtful or any(found.label not in self._frequent for found in result.detections)):
            return
        copied = self._copied(result, doubtful=doubtful, due=due)
        if copied is None:
            return
        spacing_s = self._spacing_s
        self._eager_s = at_s + spacing_s / EAGER
        self._due_s = at_s + spacing_s if due else self._due_s
        self.missed += self._mailbox.put(copied) is not None

    def is_due(self) -> bool:
        """Whether the next frame is wanted even if nothing moves in it. Any thread."""
        return self._wanted and self._clock.monotonic_ns() / 1e9 >= self._due_s

    def health(self) -> CollectHealth | None:
        """Return the section of the health message; None if it is off and there are no pictures. Any thread."""
        collection, enabled = self._collection, self._config.collect.enabled
        if not (enabled or collection.pictures):
            return None
        left_s = self._whole_s - collection.watched_s
        return {"state": collection.state if enabled else "off", "pictures": len(collection.pictures),
                "mb": round(collection.size_bytes / 1e6, 3), "missed": self.missed,
                "hours_left": round(max(0.0, left_s) / 3600, 3) if enabled and collection.state != "complete" else None}

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread; never blocks."""
        late_s = self.worker.late_s
        failure = f"{self._collection.path}: no answer since {late_s:.0f} s" if late_s else self._failure
        return {"collect_failed": failure} if failure else {}

    def request(self, what: str, answered: Answered) -> None:
        """Start, stop or clear the collection; `answered` is called with None or the error, on any thread.

        The error is a UsageError where the owner of the device has not enabled it.
        """
        if not self._config.collect.enabled:
            answered(UsageError("collect.enabled is false: only the configuration of the device can change that"))
            return
        if len(self._requests) >= WAITING_LIMIT:
            answered(StateUnusable(f"{WAITING_LIMIT} requests are waiting already: the disk does not answer"))
            return
        self._requests.append((what, answered))

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration."""
        self._config = config
        idle = self._started and not self.worker.alive and self.worker.failure is None
        if idle and (config.collect.enabled or self._has_pictures()):
            self.worker.start()

    def start(self) -> None:
        """Start the thread if there is something to do for it; else `reload` does it later."""
        self._started = True
        self.reload(self._config)

    def stop(self, timeout_s: float) -> bool:
        """End the thread; returns whether it has ended. Requests that wait are answered. Safe to call twice."""
        self._started = self._wanted = False
        self.worker.stopping.set()
        self._mailbox.close()
        ended = self.worker.stop(timeout_s)
        while self._requests:
            self._requests.popleft()[1](StateUnusable("the daemon stops"))
        return ended

    @property
    def _whole_s(self) -> float:
        return self._config.collect.hours * 3600

    @property
    def _spacing_s(self) -> float:
        return self._whole_s / (CANDIDATES * self._config.collect.frames)

    def _has_pictures(self) -> bool:
        try:
            return bool(picture_files(self._collection.path, unfinished=True))
        except OSError:
            return True     # the thread finds out why

    def _is_doubtful(self, result: DetectionResult) -> bool:
        limits = self._limits
        return limits is not None and any(
            found.score is not None and found.score <= limits.threshold_of(found.label) + DOUBT
            for found in result.detections)

    def _copied(self, result: DetectionResult, *, doubtful: bool, due: bool) -> _Copied | None:
        """Return a copy of what the model saw; None if the model runs no more."""
        frame = result.frame
        detector = self._opener.detector_of(result.model.sha256) if result.model else None
        if detector is None:
            return None
        roi, scaling = result.roi, detector.scaling
        labels = tuple(sorted({found.label for found in result.detections}))
        part = roi_pixels(frame.width, frame.height, roi)
        seen = part.left, part.top, part.right, part.bottom
        if scaling is None or scaling[:4] != seen:
            scaling = Scaling(*seen, part.width, part.height)
        if frame.scaled is not None and frame.scaling == scaling:
            pixels = memoryview(frame.scaled.tobytes()).cast("B", (scaling.height, scaling.width, 3))
            return _Copied(pixels, None, roi, frame.scene_s, labels, doubtful, due)
        pixels = memoryview(frame.pixels.tobytes()).cast("B", (frame.height, frame.width, 3))
        return _Copied(pixels, scaling, roi, frame.scene_s, labels, doubtful, due)

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            worker.beat()
            self._turn(self._mailbox.take(POLL_S))
        if self._is_loaded:
            self._try(self._collection.save)

    def _turn(self, copied: _Copied | None) -> None:
        while self._requests:
            self._try(partial(self._answer, *self._requests.popleft()))
        self._try(partial(self._step, copied))

    def _answer(self, what: str, answered: Answered) -> None:
        collection = self._collection
        try:
            if what == "clear":
                collection.clear()
            else:
                self._load()
                collection.turn("collecting" if what == "start" else "stopped")
        except OSError as failure:
            answered(StateUnusable(f"{failure.filename or collection.path}: {failure.strerror}"))
            raise
        answered(None)

    def _step(self, copied: _Copied | None) -> None:
        collection, config = self._collection, self._config
        limits = config.collect
        self._tidy()
        if not self._is_loaded or self._failure:
            return
        collection.notice()
        if collection.show(_view_of(config)):
            log.info("the region has changed: the collected pictures are deleted")
        is_outdated = not _SHOWS.isdisjoint(self._reloader.pending)
        if is_outdated and collection.pictures:
            collection.clear()
            log.info("what pictures may show changes with the next start: the collected ones are deleted")
        if copied is not None and copied.roi == region_of(config.camera.roi) and self._wanted and not is_outdated:
            self._consider(copied)
        if collection.state == "collecting" and collection.watched_s >= self._whole_s:
            collection.turn("complete")
            log.info("the collection is complete: %d pictures", len(collection.pictures))
        self._limits = self._opener.limits()
        shows = Counter(label for picture in collection.pictures for label in picture.labels)
        self._frequent = frozenset(label for label, number in shows.items() if number >= FEW)
        self._wanted = limits.enabled and collection.state == "collecting" and not is_outdated

    def _consider(self, copied: _Copied) -> None:
        from vedette.vision import images  # late: only where pictures are collected
        collection = self._collection
        if self._seen_s is not None:
            collection.watched_s += min(max(0.0, copied.at_s - self._seen_s), max(TIDY_S, 2 * self._spacing_s))
        self._seen_s = copied.at_s
        pixels = _bgr(copied)
        height, width = pixels.shape[:2]
        brightness = round(float(pixels.reshape(-1, 3).mean(axis=0) @ _LUMA), 3)
        if copied.due:
            collection.see(brightness)
        part = min(int(collection.watched_s / self._whole_s * PARTS), PARTS - 1)
        picture = Picture("", 0, brightness, copied.labels, copied.doubtful, part, width, height, 0.0)
        collection.offer(picture, partial(images.encode_png, pixels.data, max(width, height)), self._config.collect)

    def _load(self) -> None:
        if not self._is_loaded:
            self._collection.load()
            self._is_loaded = True

    def _tidy(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._tidy_ns:
            return
        self._tidy_ns = now_ns + int(TIDY_S * 1e9)
        self._load()
        self._collection.tidy(self._config.collect)
        if self._failure:
            self._collection.save()     # else a disk that cannot be written would only show with the next picture
            log.info("the collected pictures can be written again")
        self._failure = ""

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as failure:
            self._wanted = False
            self._tidy_ns = self._clock.monotonic_ns() + int(TIDY_S * 1e9)
            message = f"{failure.filename or self._collection.path}: {failure.strerror}"
            if self._failure != message:
                log.warning("pictures cannot be collected: %s", message)
            self._failure = message


def _view_of(config: Config) -> str:
    camera = config.camera
    return hashlib.sha256(repr((camera.rotate, camera.roi, camera.masks)).encode()).hexdigest()[:16]


def _bgr(copied: _Copied) -> NDArray[Any]:
    """Return the picture, scaled, as BGR (height, width, 3)."""
    import numpy as np  # late: as above

    from vedette.vision.scale import Scaler
    pixels = np.asarray(copied.pixels)
    scaling = copied.scaling
    if scaling is None:
        return np.ascontiguousarray(pixels[:, :, ::-1])
    if (scaling.right - scaling.left, scaling.bottom - scaling.top) == (scaling.width, scaling.height):
        return np.ascontiguousarray(pixels[scaling.top:scaling.bottom, scaling.left:scaling.right])
    target = np.empty((scaling.height, scaling.width, 3), np.uint8)
    Scaler(scaling).scale(pixels, target)
    return target
