"""The whole daemon with faults built in: `python faulty_daemon.py CONFIG`, with `tcp://ORDER` as camera source.

The capture child is tests/camera/faulty_child.py, whose source is no stream at all (tcp is a scheme that the
configuration lets pass), and the detect thread hangs when the file ORDER says so: `hang in detect` in a native call
that never returns, `hold the gil` in one that besides lets no other thread run.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path

from vedette._lib import logs, stacks
from vedette.app import Daemon, Options
from vedette.camera.open import capture_settings
from vedette.camera.remote import RemoteCamera
from vedette.identity import StateFolder, state_path

PROGRAM = (str(Path(__file__)),)
FAULTY_CHILD = Path(__file__).parent / "camera" / "faulty_child.py"
HANGS = {"hang in detect": ctypes.CDLL(None).pause, "hold the gil": ctypes.PyDLL(None).pause}


class FaultyDaemon(Daemon):
    """A daemon whose detect thread hangs on order, after a frame was looked at."""

    def _listeners(self):
        return (*super()._listeners(), self._hang_on_order)

    def _hang_on_order(self, _result) -> None:
        order = Path(self._config.camera.source.removeprefix("tcp://")).read_text()
        if order in HANGS:
            HANGS[order]()


def open_faulty_camera(camera, clock, *, on_end) -> RemoteCamera:
    return RemoteCamera(capture_settings(camera), clock, child_module=FAULTY_CHILD.stem, on_end=on_end)


def main() -> int:
    logs.setup(logging.INFO)
    stacks.dump_on_signals()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FAULTY_CHILD.parent), os.environ.get("PYTHONPATH", "")])
    options = Options(config_path=Path(sys.argv[1]), overrides={})
    state = StateFolder(state_path(os.environ))
    try:
        return FaultyDaemon(options, options.load(), state, camera_opener=open_faulty_camera).run()
    finally:
        state.close()


def give(order: Path, words: str) -> None:
    """Order a fault, or none. The reader sees the old words or the new ones."""
    fresh = order.with_suffix(".new")
    fresh.write_text(words)
    fresh.rename(order)


if __name__ == "__main__":
    sys.exit(main())
