"""Reads the board once a second for throttle, trial, time stamps and health.

Invariants: the main thread reads the board, any thread may use the latest reading; before the first reading the clock
counts as not synchronized, and the board as not throttled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vedette.device.board import BoardReading

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.ports import Clock
    from vedette.types import ReasonCode

INTERVAL_S = 1.0


class ReadableBoard(Protocol):
    """The computer this runs on."""

    def read(self, capture_pid: int | None = None) -> BoardReading:
        """Read everything; `capture_pid` is the process id of the capture child."""


class HasChild(Protocol):
    """A camera with a capture child."""

    @property
    def child_pid(self) -> int:
        """Process id of the present child."""


class BoardMonitor:
    """A ports.ReasonSource."""

    def __init__(self, board: ReadableBoard, camera: HasChild, clock: Clock) -> None:
        self.reading = BoardReading()
        """The latest reading. Any thread."""
        self._board = board
        self._camera = camera
        self._clock = clock
        self._listeners: list[Callable[[BoardReading], None]] = []
        self._read_ns: int | None = None

    def __repr__(self) -> str:
        return f"<BoardMonitor {self.reading}>"

    def subscribe(self, listener: Callable[[BoardReading], None]) -> None:
        """Call `listener` with every new reading, on the main thread. Before the first `tick`."""
        self._listeners.append(listener)

    def tick(self) -> None:
        """Read the board if a reading is due. Main thread, several times a second."""
        now_ns = self._clock.monotonic_ns()
        if self._read_ns is None or now_ns - self._read_ns > INTERVAL_S * 1e9:
            self._read_ns = now_ns
            self.reading = self._board.read(self._camera.child_pid)
            for listener in self._listeners:
                listener(self.reading)

    def clock_synced(self) -> bool:
        """Return whether a time server set the clock; False if unknown. Any thread."""
        return bool(self.reading.clock_synced)

    def throttled(self) -> bool:
        """Return whether the firmware limits the processor now; False if unknown. Any thread."""
        return bool(self.reading.throttled_now)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        return self.reading.reasons()
