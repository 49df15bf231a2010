"""What a check of `vedette doctor` gets and what it returns.

Invariants: a check changes nothing on the machine; the fields of a result are the keys that `doctor --json` prints.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from vedette.camera.v4l2 import Ioctl
    from vedette.config.models import Config
    from vedette.device.board import Board

CheckState = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. `remedy` says what to do; it is empty where there is nothing to do."""

    name: str
    state: CheckState
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine to check: its configuration, its board, its environment variables and its devices."""

    config: Config
    board: Board
    environ: Mapping[str, str]
    dev: Path = Path("/dev")
    ioctl: Ioctl = fcntl.ioctl
