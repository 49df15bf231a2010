"""Hands single frames, with the running model's detections, to another thread, which compares another model on them.

Invariants: without a request a frame only costs the check of a flag. A requested frame costs one copy, to memory that a
child process can map. That memory has the frame's size and is written only between `request` and the return of `wait`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.camera.shared_frames import SharedFrames

if TYPE_CHECKING:
    from datetime import datetime

    from vedette.types import Box, Detection, DetectionResult, ModelRef, Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TappedFrame:
    """One frame: its BGR pixels (height, width, 3) in slot 0 of `memory`, and the running model's result in its `roi`.

    The pixels are valid until the next request.
    """

    memory: SharedFrames
    height: int
    width: int
    seq: int
    captured_ns: int
    captured_at: datetime
    model: ModelRef | None
    detections: tuple[Detection, ...]
    timing: Timing
    roi: Box


class FrameTap:
    """The pipeline's listener (detect thread) on one side; `request` and `wait` (one thread) on the other."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._requested = False
        self._tapped: TappedFrame | None = None
        self._memory: SharedFrames | None = None
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<FrameTap {'requested' if self._requested else 'idle'} {self._memory!r}>"

    def __call__(self, result: DetectionResult) -> None:
        """Copy the result's frame if one is requested. Never blocks."""
        if not self._requested or result.source != "local":
            return
        tapped = self._copied(result)
        with self._arrival:
            if tapped is None or tapped.memory is self._memory:     # otherwise `close` was called during the copy
                self._requested, self._tapped = False, tapped
                self._arrival.notify_all()

    def request(self) -> None:
        """Request the next frame; an earlier tapped frame is dropped."""
        with self._arrival:
            self._requested, self._tapped = True, None

    def wait(self, timeout_s: float) -> TappedFrame | None:
        """Return the requested frame, None if none came in time. Then the request stands: a later call may return it.
        """
        with self._arrival:
            self._arrival.wait_for(self._is_served, timeout_s)
            tapped, self._tapped = self._tapped, None
            return tapped

    def next(self, timeout_s: float) -> TappedFrame | None:
        """Return the frame that came after an earlier call timed out, else the next frame; None as for `wait`."""
        late = self.wait(0)
        if late is not None:
            return late
        self.request()
        return self.wait(timeout_s)

    def close(self) -> None:
        """Drop the request and free the memory. Safe to call twice; `request` opens the tap again."""
        with self._arrival:
            self._requested, self._tapped = False, None
            memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def _copied(self, result: DetectionResult) -> TappedFrame | None:
        frame = result.frame
        memory = self._memory
        if memory is None or memory.size_bytes != frame.pixels.nbytes:
            memory = self._allocated(frame.pixels.nbytes)
            if memory is None:
                return None
        memory.view(0)[:] = frame.pixels.cast("B")
        return TappedFrame(memory, frame.height, frame.width, frame.seq, frame.captured_ns, frame.captured_at,
                           result.model, result.detections, result.timing, result.roi)

    def _is_served(self) -> bool:
        return not self._requested

    def _allocated(self, size_bytes: int) -> SharedFrames | None:
        try:
            memory = SharedFrames(1, size_bytes)
        except OSError as error:
            if str(error) != self._refusal:
                log.warning("cannot allocate the memory to compare models: %s", error)
            self._refusal = str(error)
            return None
        with self._arrival:
            old, self._memory = self._memory, memory
        if old is not None:
            old.close()     # `request` dropped its last frame
        return memory
