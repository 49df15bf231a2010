"""One run of the capture child: its process, its slots, the slots we hold, and when its next message is due.

Invariants:
- Each message of the child is checked: it must own the slot, the shape must fit, and the seq must be newer.
- The slots live until the session's last frame is released. The next session has its own, so no frame in use is
  overwritten.
- Any thread may call `give_back` and `request`. The capture thread makes all other calls.
"""

from __future__ import annotations

import json
import select
from typing import TYPE_CHECKING

from vedette._lib.child import Child
from vedette._lib.patience import MOST_S
from vedette.camera.restart_policy import start_limit_s
from vedette.camera.settings import SLOTS, V4L2_SELECT_TIMEOUT_S
from vedette.camera.shared_frames import SharedFrames
from vedette.camera.wire import FrameReady, Opening, decode, encode_free, encode_request
from vedette.types import OUTLINE_BYTES, Scaling, View

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.wire import Message
    from vedette.ports import Clock

WITHIN_LIMIT_S = 30.0
OPENING_LIMIT_S = MOST_S + 30
SLOW_OPENING_S = 4.0
"""An opening that takes longer is reported, though it goes on."""
LEAVE_WITHIN_S = 1.0
KILL_WITHIN_S = 2.0
DIE_WITHIN_S = 8.0      # where no stop waits: a process needs processor time to die, and a slow board has little
AHEAD_NS = 1_000_000_000

ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",             # each thread costs memory, and nothing here multiplies matrices
    "OPENCV_LOG_LEVEL": "SILENT",            # our own message names the failure, without the URL and its password
    "OPENCV_FFMPEG_LOGLEVEL": "-8",          # AV_LOG_QUIET
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(64 * 2**20),
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(V4L2_SELECT_TIMEOUT_S),    # 10 by default
}


class Session:
    """A started child that has its settings. `child`: one that waits for them, in place of a new one."""

    def __init__(self, settings: CaptureSettings, module: str, first_seq: int, clock: Clock,
                 child: Child | None = None) -> None:
        self.started_ns = clock.monotonic_ns()
        self.openings = 0
        self.gave_frame = False
        self._opened_ns: int | None = None
        self._clock = clock
        self._every_frame = settings.every_frame
        self._stall_ns = int(settings.stall_s * 1e9)
        self._within_limit_s = max(WITHIN_LIMIT_S, settings.stall_s)
        self._opening_limit_s = max(OPENING_LIMIT_S, self._within_limit_s + 1)
        self._seq = first_seq - 1
        self._held: set[int] = set()
        self._due_ns = self.started_ns + int(start_limit_s(settings.slow_openings) * 1e9)
        self._slots = SharedFrames(SLOTS, settings.slot_bytes)
        try:
            self._child = child or Child(module, ENVIRON)
            self._child.send(json.dumps({"first_seq": first_seq}).encode() + b"\n" + settings.to_json(),
                             (self._slots.fd,))
        finally:
            self._slots.close()

    def __repr__(self) -> str:
        return f"<Session {self._child!r} seq={self._seq} held={sorted(self._held)}>"

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def wait_for_message(self, timeout_s: float) -> bool:
        """Wait for a message. Returns whether there is one, or the child has closed its socket."""
        poll = select.poll()
        poll.register(self._child.socket, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def receive(self) -> Message | None:
        """Return the next message, or None when there is none now.

        Raises: EOFError when the child has ended; ValueError when its message cannot be true.
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
        opening = isinstance(message, Opening)
        self.openings += opening
        self._opened_ns = self._clock.monotonic_ns() if opening else None
        self._expect_next(min(message.within_s, self._opening_limit_s if opening else self._within_limit_s))
        return message

    def pixels(self, frame: FrameReady) -> memoryview:
        """Return the pixels of a frame we hold, as (height, width, 3)."""
        return self._slots.view(frame.slot, (frame.height, frame.width, 3))

    def scaled(self, frame: FrameReady) -> memoryview | None:
        """Return the scaled part that came with a frame, as (height, width, 3), or None if there is none."""
        if not frame.scaling:
            return None
        *_, width, height = frame.scaling
        return self._slots.view(frame.slot, (height, width, 3), frame.height * frame.width * 3)

    def request(self, scaling: Scaling | None, *, gate_is_open: bool) -> None:
        """Request frames from the child. Any thread may call it. It has no effect once the child is gone."""
        self._child.send(encode_request(scaling, gate_is_open=gate_is_open))

    @staticmethod
    def view(frame: FrameReady) -> View | None:
        """Return the view that was measured on a frame, or None. Raises: ValueError."""
        if not frame.view:
            return None
        detail, focus = frame.view
        outline = bytes.fromhex(frame.outline)
        if len(outline) not in (0, OUTLINE_BYTES):
            raise ValueError(f"the outline has {len(outline)} bytes, expected {OUTLINE_BYTES} or none")
        return View(detail, focus, outline)

    def give_back(self, slot: int) -> None:
        """Let the child write the slot again. Any thread may call it. It has no effect once the child is gone."""
        self._held.discard(slot)
        if self._every_frame:
            self._expect_next(self._stall_ns / 1e9)   # the child may have waited for this slot
        self._child.send(encode_free(slot))

    def silence(self) -> str | None:
        """Return why the child counts as hung, or None if it does not."""
        if self._child.stopped():
            return "the capture child was stopped by a signal"
        waits_for_us = self._every_frame and len(self._held) == SLOTS
        if waits_for_us or self._clock.monotonic_ns() < self._due_ns:
            return None
        return "the capture child hangs: its next message is overdue"

    def slow_opening(self) -> str | None:
        """Return what to report if the source is being opened and has not answered for too long, else None."""
        if self._opened_ns is None or self._clock.monotonic_ns() - self._opened_ns < SLOW_OPENING_S * 1e9:
            return None
        return f"no answer within {SLOW_OPENING_S:.0f} s; it is still being opened"

    def end(self, *, gracefully: bool) -> bool:
        """End the child. If `gracefully`, it gets time to close its camera. Returns False if it cannot be killed."""
        self._child.close()
        kill_s = KILL_WITHIN_S if gracefully else DIE_WITHIN_S
        return (gracefully and self._child.wait(LEAVE_WITHIN_S)) or self._child.kill(kill_s)

    def _accept(self, frame: FrameReady) -> None:
        if frame.seq <= self._seq:
            raise ValueError(f"frame {frame.seq} came after frame {self._seq}, expected a higher number")
        if not 0 <= frame.kept_back < frame.seq - self._seq:
            raise ValueError(f"{frame.kept_back} frames were kept back between {self._seq} and {frame.seq}")
        if frame.slot in self._held:
            raise ValueError(f"the child wrote slot {frame.slot}, which the daemon holds")
        if not 0 < frame.captured_ns <= self._clock.monotonic_ns() + AHEAD_NS:
            raise ValueError(f"frame {frame.seq} was captured at {frame.captured_ns} ns, expected a time in the past")
        self.pixels(frame)
        if frame.scaling and len(frame.scaling) != len(Scaling._fields):
            raise ValueError(f"the scaling {frame.scaling} is incomplete, expected {len(Scaling._fields)} numbers")
        self.scaled(frame)
        self.view(frame)
        if min(*frame.view, frame.brightness or 0.0, frame.contrast or 0.0) < 0:
            raise ValueError("negative picture statistics, expected 0 or more")
        self._held.add(frame.slot)
        self._seq = frame.seq
        self.gave_frame = True

    def _expect_next(self, within_s: float) -> None:
        self._due_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
