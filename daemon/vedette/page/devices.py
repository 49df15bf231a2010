"""All daemons that the page shows.

Invariants: a name belongs to the first daemon that has it; a change wakes everybody who waits for one.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from vedette.page.device import Device
from vedette.page.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from vedette._lib.worker import Worker
    from vedette.page.device_state import DeviceState
    from vedette.page.history import History


class Devices:
    """Any thread, but for `start` and `stop`. `on_end` is called when a device's thread has ended."""

    def __init__(self, paths: Iterable[Path], history: History, *, on_end: Callable[[Worker], None]) -> None:
        self._changed = threading.Condition()
        self._run = secrets.token_hex(4)
        self._version = 0
        self._devices = [Device(path, Recorder(history), on_change=self._on_change, on_end=on_end) for path in paths]

    def __repr__(self) -> str:
        return f"<Devices {self._devices}>"

    def start(self) -> None:
        """Begin to follow the daemons."""
        for device in self._devices:
            device.worker.start()

    def stop(self, timeout_s: float) -> None:
        """Follow them no more. A thread that still waits for its daemon ends with the process."""
        for device in self._devices:
            device.worker.stopping.set()
        for device in self._devices:
            device.worker.stop(timeout_s)
        self._on_change()

    def states(self) -> list[DeviceState]:
        """Return what is known of each daemon."""
        return [device.state for device in self._devices]

    def of(self, name: str) -> Device | None:
        """Return the daemon of this name, or the only one if the name is empty."""
        if not name:
            return self._devices[0] if len(self._devices) == 1 and self._devices[0].state.device else None
        return next((device for device in self._devices if device.state.device == name), None)

    def changed(self, version: str | None, within_s: float) -> str:
        """Wait until the version is another than this one; return it. None: do not wait."""
        with self._changed:
            if version == self._now():
                self._changed.wait(within_s)
            return self._now()

    def _now(self) -> str:
        return f"{self._run}-{self._version}"

    def _on_change(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()
