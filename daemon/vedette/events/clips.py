"""Records clips: short films around events, in a folder. The thread is `clips`.

Invariants:
- Without a folder, or without events, no frame is copied or encoded, nothing is kept in memory, and no file is made.
- The detect thread only copies a frame, PER_S times a second at most. What the thread cannot keep up with is replaced
  and counted.
- A folder that fails, or never answers, disturbs nothing else. `clips_failed` has the cause, and it is tried again.
- The frames come with their masks, so the clips have them.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vedette._lib.latest import Latest
from vedette._lib.worker import Worker
from vedette.device.wall_clock import SettledClock
from vedette.events.clip_folder import ClipFolder
from vedette.events.clip_recorder import SLOT_NS, ClipRecorder, Shot

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vedette.config.models import Config
    from vedette.ports import Clock
    from vedette.types import DetectionResult, ReasonCode

log = logging.getLogger(__name__)

QUALITY = 75
LONGEST_PX = 1280
POLL_S = 0.5
TIDY_S = 60.0
"""The folder is tidied so often, and tried again after it failed."""
EVENTS_MAX = 1000
"""Starts and ends of events that wait for a folder that does not answer."""


@dataclass(frozen=True, slots=True)
class _Copied:
    """`scene_ns`: as Frame.scene_s, by which events have their times; `ahead_ns`: by how much this is after now."""

    pixels: memoryview
    scene_ns: int
    ahead_ns: int
    captured_at: datetime


class Clips:
    """A ports.ReasonSource. `start`, `stop` and `reload`: main thread."""

    def __init__(self, config: Config, clock: Clock, *, device: str,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("clips", self._run, on_end=on_end)
        self.replaced = 0
        """Frames that the thread was too slow for."""
        self.lost = 0
        """Clips that could not be written."""
        self._clock = clock
        self._device = device
        self._config = config
        self._applied: Config | None = None
        self._started = False
        self._slot = -1
        self._ahead_ns = 0
        self._mailbox: Latest[_Copied] = Latest()
        self._events: deque[partial[None]] = deque(maxlen=EVENTS_MAX)
        self._recorder: ClipRecorder | None = None
        self._failure = ""
        self._tidy_ns = 0
        self._wall_clock = SettledClock(clock)

    def __repr__(self) -> str:
        return f"<Clips {self._recorder!r} replaced={self.replaced} lost={self.lost} {self._failure}>"

    @property
    def is_on(self) -> bool:
        """Whether clips are recorded. Any thread."""
        return _is_on(self._config)

    def on_result(self, result: DetectionResult) -> None:
        """Copy the frame, if there is none yet of this tenth of a second. A listener of the pipeline."""
        frame = result.frame
        scene_ns = round(frame.scene_s * 1e9)
        slot = scene_ns // SLOT_NS
        if not self.is_on or slot <= self._slot:
            return
        self._slot = slot
        pixels = memoryview(frame.pixels.tobytes()).cast("B", (frame.height, frame.width, 3))
        if self._mailbox.put(_Copied(pixels, scene_ns, scene_ns - frame.captured_ns, frame.captured_at)) is not None:
            self.replaced += 1

    def event_began(self, event_id: str, label: str, at_ns: int) -> None:
        """Record a clip of this event, which began at this time of the frames' clock. Any thread; never blocks."""
        if self.is_on and self._config.makes_events(label):
            self.lost += len(self._events) == EVENTS_MAX
            self._events.append(partial(self._began, event_id, label, at_ns))

    def event_ended(self, event_id: str, at_ns: int) -> None:
        """End the clip of this event, if there is one. Any thread; never blocks."""
        if self.is_on:
            self._events.append(partial(self._ended, event_id, at_ns))

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread; never blocks."""
        folder = self._config.events.clips.folder
        late_s = self.worker.late_s
        failure = f"{folder}: no answer since {late_s:.0f} s" if late_s else self._failure
        if not (self.is_on and failure):
            return {}
        return {"clips_failed": f"{failure}; clips lost in this run: {self.lost}" if self.lost else failure}

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. A clip under way is dropped if they say something else of clips."""
        self._config = config
        if self.is_on and self._started and not self.worker.alive and self.worker.failure is None:
            self.worker.start()

    def start(self) -> None:
        """Start the thread if clips are on; else `reload` does it later."""
        self._started = True
        self.reload(self._config)

    def stop(self, timeout_s: float) -> bool:
        """Complete the clip under way, and end the thread; returns whether it has ended. Safe to call twice."""
        self._started = False
        self.worker.stopping.set()
        self._mailbox.close()
        return self.worker.stop(timeout_s)

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            worker.beat()
            copied = self._mailbox.take(POLL_S)
            self._apply(self._config)
            if self._recorder is not None:
                self._step(self._recorder, copied)
        self._apply(self._config)
        if self._recorder is not None:
            self._try(self._recorder, self._recorder.finish)

    def _step(self, recorder: ClipRecorder, copied: _Copied | None) -> None:
        if copied is not None:
            self._ahead_ns = copied.ahead_ns
            self._try(recorder, partial(recorder.add, _shot(copied)))
        while self._events:
            self._try(recorder, partial(self._events.popleft(), recorder))
        self._try(recorder, partial(self._tidy, recorder))

    def _apply(self, config: Config) -> None:
        """Begin with another configuration; a clip under way and what is kept in memory are dropped."""
        before, self._applied = self._applied, config
        if before is not None and (before is config or _keys(before) == _keys(config)):
            return
        if self._recorder is not None:
            self._recorder.abandon()
        clips = config.events.clips
        self._recorder = None
        self._failure, self._tidy_ns = "", 0
        if clips.folder is not None and _is_on(config):
            self._recorder = ClipRecorder(ClipFolder(clips.folder, self._device, mb=clips.mb, days=clips.days))

    def _began(self, event_id: str, label: str, at_ns: int, recorder: ClipRecorder) -> None:
        recorder.began(event_id, label, at_ns, self._wall_clock.now())

    def _ended(self, event_id: str, at_ns: int, recorder: ClipRecorder) -> None:
        recorder.ended(event_id, at_ns)

    def _tidy(self, recorder: ClipRecorder) -> None:
        now_ns = self._clock.monotonic_ns()
        recorder.tick(now_ns + self._ahead_ns)
        if not recorder.is_recording and now_ns >= self._tidy_ns:
            self._tidy_ns = now_ns + int(TIDY_S * 1e9)
            recorder.folder.tidy(self._wall_clock.now())
            if self._failure:
                log.info("the folder of the clips can be written again")
            self._failure = ""

    def _try(self, recorder: ClipRecorder, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as failure:
            if recorder.abandon():
                self.lost += 1
            message = f"{failure.filename or recorder.folder.path}: {failure.strerror}"
            if self._failure != message:
                log.warning("clips cannot be written: %s", message)
            self._failure = message
            self._tidy_ns = self._clock.monotonic_ns() + int(TIDY_S * 1e9)


def _is_on(config: Config) -> bool:
    return config.events.enabled and config.events.clips.folder is not None


def _keys(config: Config) -> tuple[object, ...]:
    return config.events.enabled, config.events.clips


def _shot(copied: _Copied) -> Shot:
    import numpy as np  # late: only where clips are on

    from vedette.vision import jpeg
    picture = jpeg.shrunk(np.asarray(copied.pixels), LONGEST_PX)
    height, width = picture.shape[:2]
    return Shot(copied.scene_ns, copied.captured_at, jpeg.encode(picture.data, QUALITY), (width, height))
