"""One life of the capture child: its process, its places, which of them we hold, and when it must speak next.

Invariants:
- What the child says is believed only as far as it is possible: a place it owns, a shape that fits, a newer seq.
- Places die with the session's last frame; the next session has its own, so a frame in hand is never overwritten.
- `give_back` may come from any thread, the rest from the capture thread.
"""

from __future__ import annotations

import json
import select
from typing import TYPE_CHECKING

from vedette._lib.child import Child
from vedette.camera.settings import PLACES
from vedette.camera.shared_frames import SharedFrames
from vedette.camera.wire import FrameReady, Opening, decode, encode_free, encode_wish
from vedette.types import OUTLINE_BYTES, Scaling, View

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.wire import Message
    from vedette.ports import Clock

START_WITHIN_S = 15.0
"""Importing numpy and OpenCV from a slow SD card."""
PROMISE_LIMIT_S = 30.0
LEAVE_WITHIN_S = 1.0
KILL_WITHIN_S = 2.0
AHEAD_NS = 1_000_000_000

ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",             # each of its threads costs memory, and nothing here multiplies matrices
    "OPENCV_LOG_LEVEL": "SILENT",            # what failed is told in our words, without the URL and its password
    "OPENCV_FFMPEG_LOGLEVEL": "-8",          # AV_LOG_QUIET
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(64 * 2**20),
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",    # seconds; 10 by default
}


class Session:
    """A started child that was told what to capture."""

    def __init__(self, settings: CaptureSettings, module: str, first_seq: int, clock: Clock) -> None:
        self.started_ns = clock.monotonic_ns()
        self.openings = 0
        self._clock = clock
        self._every_frame = settings.every_frame
        self._stall_ns = int(settings.stall_s * 1e9)
        self._promise_limit_s = max(PROMISE_LIMIT_S, settings.stall_s)
        self._seq = first_seq - 1
        self._held: set[int] = set()
        self._due_ns = self.started_ns + int(START_WITHIN_S * 1e9)
        self._places = SharedFrames(PLACES, settings.place_bytes)
        try:
            self._child = Child(module, ENVIRON)
            self._child.send(json.dumps({"first_seq": first_seq}).encode() + b"\n" + settings.to_json(),
                             (self._places.fd,))
        finally:
            self._places.close()

    def __repr__(self) -> str:
        return f"<Session {self._child!r} seq={self._seq} held={sorted(self._held)}>"

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def listen(self, timeout_s: float) -> bool:
        """Wait for a message; returns whether there is one (or the end)."""
        poll = select.poll()
        poll.register(self._child.socket, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def receive(self) -> Message | None:
        """Return the next message, or None when there is none now.

        Raises: EOFError when the child has left; ValueError when it says what cannot be.
        """
        packet = self._child.receive()
        if packet is None:
            return None
        if not packet:
            self._child.wait(KILL_WITHIN_S)
            raise EOFError(f"the capture child {self._child.ending() or 'closed its socket'}")
        message = decode(packet)
        if isinstance(message, FrameReady):
            self._accept(message)
        self.openings += isinstance(message, Opening)
        self._promise(min(message.within_s, self._promise_limit_s))
        return message

    def pixels(self, frame: FrameReady) -> memoryview:
        """Return the pixels of a frame we hold, as (height, width, 3)."""
        return self._places.view(frame.place, (frame.height, frame.width, 3))

    def scaled(self, frame: FrameReady) -> memoryview | None:
        """Return the scaled part that came with a frame, as (height, width, 3), or None."""
        if not frame.scaling:
            return None
        *_, width, height = frame.scaling
        return self._places.view(frame.place, (height, width, 3), frame.height * frame.width * 3)

    def scale_to(self, scaling: Scaling | None) -> None:
        """Pass a wish on. Any thread; without effect once the child is gone."""
        self._child.send(encode_wish(scaling))

    @staticmethod
    def view(frame: FrameReady) -> View | None:
        """Return what was measured on a frame, or None. Raises: ValueError."""
        if not frame.view:
            return None
        detail, focus = frame.view
        outline = bytes.fromhex(frame.outline)
        if len(outline) not in (0, OUTLINE_BYTES):
            raise ValueError(f"an outline of {len(outline)} bytes")
        return View(detail, focus, outline)

    def give_back(self, place: int) -> None:
        """Let the child write the place again. Any thread; without effect once the child is gone."""
        self._held.discard(place)
        if self._every_frame:
            self._promise(self._stall_ns / 1e9)   # it may have waited for this place
        self._child.send(encode_free(place))

    def silence(self) -> str | None:
        """Say in words why the child must be taken for hung, or None."""
        if self._child.stopped():
            return "the capture child was stopped by a signal"
        waits_for_us = self._every_frame and len(self._held) == PLACES
        if waits_for_us or self._clock.monotonic_ns() < self._due_ns:
            return None
        return "the capture child hangs: no sign of life when one was due"

    def end(self, *, kindly: bool) -> bool:
        """End the child, giving it time to close its camera if `kindly`; returns False if it cannot be killed."""
        self._child.close()
        return (kindly and self._child.wait(LEAVE_WITHIN_S)) or self._child.kill(KILL_WITHIN_S)

    def _accept(self, frame: FrameReady) -> None:
        if frame.seq <= self._seq:
            raise ValueError(f"frame {frame.seq} after frame {self._seq}")
        if frame.place in self._held:
            raise ValueError(f"place {frame.place} is not the child's")
        if not 0 < frame.captured_ns <= self._clock.monotonic_ns() + AHEAD_NS:
            raise ValueError(f"captured at {frame.captured_ns} ns, in the future")
        self.pixels(frame)
        if frame.scaling and len(frame.scaling) != len(Scaling._fields):
            raise ValueError(f"scaling {frame.scaling}")
        self.scaled(frame)
        self.view(frame)
        if min(*frame.view, frame.brightness or 0.0, frame.contrast or 0.0) < 0:
            raise ValueError("a picture measured below nought")
        self._held.add(frame.place)
        self._seq = frame.seq

    def _promise(self, within_s: float) -> None:
        self._due_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
