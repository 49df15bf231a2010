"""What a check of the doctor is given and what it finds; and how it tries what may crash: in a fresh process.

Invariants: a child that hangs is ended; its last words are kept, with the sign of a known trap wherever it stood.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vedette.errors import VedetteError

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.device.board import Board

CHILD_TIMEOUT_S = 30.0
TRAPS = {
    "numpy.dtype size changed":
        "built for another numpy than the one found: a numpy 2 from pip (also by way of OpenCV >= 4.12) hides apt's. "
        "Use an environment with --system-site-packages, numpy<2 and opencv-python-headless<4.12 (`make install` does)",
    "_ARRAY_API not found":
        "built for numpy 1 and found numpy 2: install numpy<2 with opencv-python-headless<4.12; or ai-edge-litert "
        "instead of tflite-runtime",
    "libGL.so": "opencv-python needs a desktop's libraries: install opencv-python-headless instead of it",
    "Illegal instruction": "built for a newer processor than this one",
}
"""What a failed import says -> what is behind it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` says what to do, and is empty where nothing is."""

    name: str
    state: Literal["ok", "warn", "fail"]
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined."""

    config: Config
    board: Board
    environ: Mapping[str, str]
    dev: Path = Path("/dev")


class ChildFailed(VedetteError):
    """A child process could not do what it was asked; the message has its last words."""


def remedy_for(words: str) -> str:
    """Return what is behind a failed import, or nothing."""
    return next((meaning for sign, meaning in TRAPS.items() if sign in words), "")


def in_child(code: str, timeout_s: float = CHILD_TIMEOUT_S) -> str:
    """Run a line of Python in a fresh process; returns what it printed. Raises: ChildFailed."""
    try:
        ended = subprocess.run([sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, capture_output=True,
                               check=False, text=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"hangs for more than {timeout_s:.0f} s") from error
    if ended.returncode < 0:
        raise ChildFailed(f"crashes: {signal.strsignal(-ended.returncode)}")
    if ended.returncode:
        signs = [sign for sign in TRAPS if sign in ended.stderr]
        raise ChildFailed(": ".join([*signs, *ended.stderr.strip().splitlines()[-1:]]))
    return ended.stdout.strip()

