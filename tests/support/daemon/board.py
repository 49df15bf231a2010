"""The whole daemon on a board of files, with shortened timing: `python board.py ROOT --config CONFIG`.

What the kernel says of heat, power and memory is read below ROOT, where a test writes it; what takes minutes takes
seconds.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from vedette._lib import logs
from vedette.app import Daemon, Options
from vedette.device.board import Board
from vedette.device.governor import GovernorTiming
from vedette.device.identity import StateFolder, state_path

PROGRAM = (str(Path(__file__)),)
SHORT = GovernorTiming(fast=0.5, slow=2.0, sustained=1.0, settle=1.0, calm=1.0, tried=30.0, gap=20.0)


class PlantedBoard:
    """The files of a board below a root. A reader gets an old text or a new one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.says("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        self.temperature(45)

    def says(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(place)

    def temperature(self, celsius: float) -> None:
        self.says("sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}\n")

    def waited_for_memory(self, seconds: float) -> None:
        """Set the total time since the boot."""
        self.says("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 "
                                          f"total={seconds * 1e6:.0f}\nfull avg10=0.00 total=0\n")


def main() -> int:
    logs.setup(logging.INFO)
    root = Path(sys.argv[1])
    options = Options(config_path=Path(sys.argv[-1]), overrides={})
    state = StateFolder(state_path(os.environ))
    try:
        return Daemon(options, options.load(), state, board=lambda path: Board(path, root, ""), timing=SHORT).run()
    finally:
        state.close()


if __name__ == "__main__":
    sys.exit(main())
