"""The child's end of the socket: it sends messages, receives freed slots, and notices that the owner has left.

Invariants: a slot is written only while it is in `_free`. Every wait ends when the owner leaves.
"""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING

from vedette._lib.clock import pause
from vedette.camera.settings import SLOTS
from vedette.camera.wire import PictureOrder, decode_answer, encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from vedette.camera.wire import Message
    from vedette.types import Scaling

PACKET_BYTES = 64


class OwnerLeft(Exception):
    """The daemon closed its end, so nobody needs frames any more."""


class OwnerSocket:
    """The socket to the owner, and the slots that the child may write."""

    def __init__(self, owner: socket.socket, encode_picture: Callable[[PictureOrder], Message]) -> None:
        self._socket = owner
        self._encode_picture = encode_picture
        self._poll = select.poll()
        self._poll.register(owner, select.POLLIN)
        self._free = deque(range(SLOTS))
        self.scaling: Scaling | None = None
        self.gate_is_open = True
        """The scaled part that the owner requested last, and whether it wants still frames."""

    def send(self, message: Message) -> None:
        """Send one message. Raises: OwnerLeft."""
        try:
            self._socket.send(encode(message))
        except OSError as gone:
            raise OwnerLeft from gone

    def receive(self, timeout_s: float) -> None:
        """Read the owner's messages. Wait at most `timeout_s` for the first one. Raises: OwnerLeft."""
        while self._poll.poll(timeout_s * 1000):
            try:
                packet = self._socket.recv(PACKET_BYTES)
            except OSError as gone:
                raise OwnerLeft from gone
            if not packet:
                raise OwnerLeft
            answer = decode_answer(packet)
            if isinstance(answer, int):
                self._free.append(answer)
            elif isinstance(answer, PictureOrder):
                self.send(self._encode_picture(answer))
                self._free.append(answer.slot)
            else:
                self.scaling, self.gate_is_open = answer
            timeout_s = 0

    def wait_until(self, moment_ns: int) -> None:
        """Wait until that moment of the monotonic clock. Raises: OwnerLeft."""
        while (left_ns := moment_ns - time.monotonic_ns()) > 0:
            if left_ns < 1_000_000:      # poll counts whole milliseconds, and the last one is shorter
                pause(left_ns / 1e9)
            else:
                self.receive(left_ns / 1e9)

    def free_slot(self, spare: int) -> int | None:
        """Return a slot to write, or None when the owner holds all. `spare` is taken only if no other slot is free."""
        for _ in range(len(self._free)):
            if self._free[0] != spare:
                break
            self._free.rotate(-1)
        return self._free[0] if self._free else None

    def hand_over(self, message: Message, slot: int) -> None:
        """Give the slot to the owner, with the message that describes its content. Raises: OwnerLeft."""
        self._free.remove(slot)
        self.send(message)
