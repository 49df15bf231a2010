"""Hands single frames, with what the running model saw in them, to another thread that shows them to another model.

Invariants: a frame nobody asked for costs one look at a flag; one that is wanted costs one copy, into memory that a
child process can map; that memory is written only between `want` and the return of `take`, and is of the frame's size.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.camera.shared_frames import SharedFrames

if TYPE_CHECKING:
    from datetime import datetime

    from vedette.types import Detection, DetectionResult, ModelRef, Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TappedFrame:
    """One frame: its BGR pixels, (height, width, 3), in place 0 of `memory`, and the running model's result.

    The pixels are valid until the tap is asked for another frame.
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


class FrameTap:
    """A listener of the pipeline on one side (detect thread), `want` and `take` on the other (one thread)."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._wanted = False
        self._tapped: TappedFrame | None = None
        self._memory: SharedFrames | None = None
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<FrameTap {'wanted' if self._wanted else 'idle'} {self._memory!r}>"

    def __call__(self, result: DetectionResult) -> None:
        """Take the result if one is wanted. Never blocks."""
        if not self._wanted or result.source != "local":
            return
        tapped = self._copied(result)
        with self._arrival:
            if tapped is None or tapped.memory is self._memory:     # else it was closed meanwhile
                self._wanted, self._tapped = False, tapped
                self._arrival.notify_all()

    def want(self) -> None:
        """Ask for the next frame; what was tapped before is given up."""
        with self._arrival:
            self._wanted, self._tapped = True, None

    def take(self, timeout_s: float) -> TappedFrame | None:
        """Return the frame asked for, None where none came in time: then it is still wanted, and may be taken later."""
        with self._arrival:
            self._arrival.wait_for(lambda: not self._wanted, timeout_s)
            tapped, self._tapped = self._tapped, None
            return tapped

    def next(self, timeout_s: float) -> TappedFrame | None:
        """Return the frame that was asked for before and came too late then, else the next one; None as for `take`."""
        late = self.take(0)
        if late is not None:
            return late
        self.want()
        return self.take(timeout_s)

    def close(self) -> None:
        """Want nothing any longer, and give the memory back. Safe to call twice; `want` opens it again."""
        with self._arrival:
            self._wanted, self._tapped = False, None
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
                      result.model, result.detections, result.timing)

    def _allocated(self, size_bytes: int) -> SharedFrames | None:
        try:
            memory = SharedFrames(1, size_bytes)
        except OSError as error:
            if str(error) != self._refusal:
                log.warning("no memory to compare models in: %s", error)
            self._refusal = str(error)
            return None
        with self._arrival:
            old, self._memory = self._memory, memory
        if old is not None:
            old.close()     # its last frame was given up by `want`
        return memory
