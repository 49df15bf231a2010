"""All daemons that the page shows.

Invariants: a name belongs to the first daemon that has it; a change wakes everybody who waits for one; a daemon that
is found later is added, and one that was found stays, so that its absence shows.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from vedette._lib.worker import Worker
from vedette.page.device import Device
from vedette.page.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from vedette.page.device_state import DeviceState
    from vedette.page.history import History


class Devices:
    """Any thread, but for `start` and `stop`. `on_end` is called when a thread has ended.

    `find` returns the sockets that are known now. It is asked again and again.
    """

    find_every_s = 3.0

    def __init__(self, find: Callable[[], Iterable[Path]], history: History, *,
                 on_end: Callable[[Worker], None]) -> None:
        self._changed = threading.Condition()
        self._run = secrets.token_hex(4)
        self._version = 0
        self._find, self._history, self._on_end = find, history, on_end
        self._devices: tuple[Device, ...] = ()
        self._names: dict[Path, str] = {}
        self._finder = Worker("find daemons", self._run_finder, on_end=on_end)

    def __repr__(self) -> str:
        return f"<Devices {self._devices}>"

    def start(self) -> None:
        """Begin to follow the daemons."""
        self._add_found()
        self._finder.start()

    def stop(self, timeout_s: float) -> None:
        """Follow them no more. A thread that still waits for its daemon ends with the process."""
        self._finder.stop(timeout_s)
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

    def _run_finder(self, worker: Worker) -> None:
        while not worker.stopping.wait(self.find_every_s):
            worker.beat()
            self._add_found()

    def _add_found(self) -> None:
        known = {device.state.path for device in self._devices}
        for path in self._find():
            if path not in known:
                device = Device(path, Recorder(self._history), owner_of=self._owner_of, on_change=self._on_change,
                                on_end=self._on_end)
                self._devices = (*self._devices, device)
                device.worker.start()
                self._on_change()

    def _owner_of(self, name: str, path: Path) -> Path:
        """Return which daemon has this name. The daemon at the path gets it if no other has it."""
        with self._changed:
            owner = next((each for each, other in self._names.items() if other == name), path)
            if owner == path:
                self._names[path] = name
            return owner

    def _now(self) -> str:
        return f"{self._run}-{self._version}"

    def _on_change(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()
