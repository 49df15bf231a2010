"""The whole daemon with faults built in: `python faulty.py CONFIG`, with `tcp://ORDER` as camera source.

The capture child is faulty_child.py beside this file, whose source is no stream at all (tcp is a scheme that the
configuration lets pass). Any thread of the daemon hangs, wherever it is, when the file ORDER says so: `hang in detect`
(a thread's name) in a native call that never returns, `lock in detect` at a lock that nobody frees, `spin in detect` in
an endless loop of C, and `hold the gil` in a native call of the detect thread that lets no other thread run. A daemon
that starts takes no such order that was given before: the next one is well.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from vedette._lib import logs, stacks
from vedette._lib.clock import SystemClock
from vedette._lib.worker import Worker
from vedette.app import Daemon, Options
from vedette.camera.open import capture_settings
from vedette.camera.remote import RemoteCamera
from vedette.config.models import CameraConfig
from vedette.device.identity import StateFolder, state_path
from vedette.ports import Clock

PROGRAM = (str(Path(__file__)),)
FAULTY_CHILD = "tests.support.daemon.faulty_child"
LOOK_S = 0.05
HANGS_NOW = "a thread hangs on order\n"


def lock_for_ever() -> None:
    lock = threading.Lock()
    with lock, lock:
        pass


def spin() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")      # 2^64 steps of the regular expression's engine, with Python's lock


HANGS: dict[str, Callable[[], object]] = {
    "hang": ctypes.CDLL(None).pause, "lock": lock_for_ever, "spin": spin, "hold": ctypes.PyDLL(None).pause}


class Orders:
    """Reads the orders, and carries them out in whatever thread they name, at its next call of a function."""

    def __init__(self, order: Path) -> None:
        self._order = order
        self._before = order.read_text()
        self._thread = ""
        self._hang: Callable[[], object] | None = None
        threading.Thread(target=self._read, name="orders", daemon=True).start()
        threading.setprofile(self._hang_on_order)
        sys.setprofile(self._hang_on_order)

    def _read(self) -> None:
        while True:
            threading.Event().wait(LOOK_S)
            words = self._order.read_text()
            if words == self._before:
                continue
            self._before = ""
            kind, _, place = words.partition(" ")
            hang = HANGS.get(kind) if place == "the gil" or place.startswith("in ") else None
            self._thread = {"the gil": "detect", "in main": "MainThread"}.get(place, place.removeprefix("in "))
            self._hang = hang

    def _hang_on_order(self, _frame: FrameType, _event: str, _argument: object) -> None:
        if self._hang is not None and threading.current_thread().name == self._thread:
            os.write(2, HANGS_NOW.encode())
            self._hang()


def open_faulty_camera(camera: CameraConfig, clock: Clock | None = None, *,
                       on_end: Callable[[Worker], None] | None = None) -> RemoteCamera:
    return RemoteCamera(capture_settings(camera), clock or SystemClock(), child_module=FAULTY_CHILD, on_end=on_end)


def main() -> int:
    logs.setup(logging.INFO)
    stacks.dump_on_signals()
    options = Options(config_path=Path(sys.argv[1]), overrides={})
    state = StateFolder(state_path(os.environ))
    loaded = options.load()
    Orders(Path(loaded.config.camera.source.removeprefix("tcp://")))
    try:
        return Daemon(options, loaded, state, camera_opener=open_faulty_camera).run()
    finally:
        state.close()


def give(order: Path, words: str) -> None:
    """Order a fault, or none. The daemon reads the old order or the new one."""
    fresh = order.with_suffix(".new")
    fresh.write_text(words)
    fresh.rename(order)


if __name__ == "__main__":
    sys.exit(main())
