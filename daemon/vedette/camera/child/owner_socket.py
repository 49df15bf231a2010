"""The child's end of the socket: says messages, takes places back, notices that the owner left.

Invariants: a place is written only while it is in `_free` or was taken from it; every wait ends when the owner leaves.
"""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING

from vedette._lib.clock import pause
from vedette.camera.settings import PLACES
from vedette.camera.wire import decode_answer, encode

if TYPE_CHECKING:
    import socket

    from vedette.camera.wire import Message
    from vedette.types import Scaling

PACKET_BYTES = 64


class OwnerLeft(Exception):
    """The daemon closed its end: nobody wants frames any more."""


class OwnerSocket:
    """The socket to the owner, and the places that are ours to write."""

    def __init__(self, owner: socket.socket) -> None:
        self._owner = owner
        self._poll = select.poll()
        self._poll.register(owner, select.POLLIN)
        self._free = deque(range(PLACES))
        self.scaling: Scaling | None = None
        """What the owner wishes for, by its last word."""

    def say(self, message: Message) -> None:
        """Send one message. Raises: OwnerLeft."""
        try:
            self._owner.send(encode(message))
        except OSError as gone:
            raise OwnerLeft from gone

    def listen(self, timeout_s: float) -> None:
        """Take back what the owner gives, waiting at most so long for the first. Raises: OwnerLeft."""
        while self._poll.poll(timeout_s * 1000):
            try:
                packet = self._owner.recv(PACKET_BYTES)
            except OSError as gone:
                raise OwnerLeft from gone
            if not packet:
                raise OwnerLeft
            answer = decode_answer(packet)
            if isinstance(answer, int):
                self._free.append(answer)
            else:
                self.scaling = answer
            timeout_s = 0

    def wait_until(self, moment_ns: int) -> None:
        """Wait until that moment of the monotonic clock. Raises: OwnerLeft."""
        while (left_ns := moment_ns - time.monotonic_ns()) > 0:
            if left_ns < 1_000_000:      # poll counts in milliseconds; round up the last one
                pause(left_ns / 1e9)
            else:
                self.listen(left_ns / 1e9)

    def free_place(self, spare: int) -> int | None:
        """Return a place to write, or None when the owner holds all; `spare` only if there is no other."""
        for _ in range(len(self._free)):
            if self._free[0] != spare:
                break
            self._free.rotate(-1)
        return self._free[0] if self._free else None

    def hand_over(self, message: Message, place: int) -> None:
        """Give the place to the owner with the message that says what is in it. Raises: OwnerLeft."""
        self._free.remove(place)
        self.say(message)
