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
from vedette.camera.frame_check import check_frame
from vedette.camera.restart_policy import start_limit_s
from vedette.camera.settings import ENVIRON, SLOTS
from vedette.camera.shared_frames import SharedFrames
from vedette.camera.wire import FrameReady, Opening, PictureReady, decode, encode_free, encode_order, encode_request

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.wire import Message, PictureOrder
    from vedette.ports import Clock
    from vedette.types import Scaling

WITHIN_LIMIT_S = 30.0
OPENING_LIMIT_S = MOST_S + 30
SLOW_OPENING_S = 4.0
"""An opening that takes longer is reported, though it goes on."""
LEAVE_WITHIN_S = 1.0
KILL_WITHIN_S = 2.0
DIE_WITHIN_S = 8.0      # where no stop waits: a process needs processor time to die, and a slow board has little


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
        self._slots = SharedFrames(SLOTS + 1, settings.slot_bytes)
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
        if isinstance(message, PictureReady):
            return message
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

    def picture(self, ready: PictureReady) -> bytes:
        """Return a copy of the picture that was ordered; empty if there is none. Raises: ValueError."""
        return bytes(self._slots.view(SLOTS, (ready.size_bytes,))) if ready.size_bytes else b""

    def give_back(self, slot: int, order: PictureOrder | None = None) -> None:
        """Let the child write the slot again, after the picture that is ordered. It has no effect on a dead child."""
        self._held.discard(slot)
        if self._every_frame:
            self._expect_next(self._stall_ns / 1e9)   # the child may have waited for this slot
        self._child.send(encode_order(order) if order else encode_free(slot))

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
        check_frame(frame, self._seq, self._clock.monotonic_ns())
        if frame.slot in self._held:
            raise ValueError(f"the child wrote slot {frame.slot}, which the daemon holds")
        self.pixels(frame)
        self.scaled(frame)
        self._held.add(frame.slot)
        self._seq = frame.seq
        self.gave_frame = True

    def _expect_next(self, within_s: float) -> None:
        self._due_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
