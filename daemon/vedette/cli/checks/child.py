"""Runs Python code that may crash in a fresh process, and explains known faults of an installation.

Invariants: a child that hangs is ended; the last line that it printed is kept, and so is the sign of a known fault,
wherever it stood in the output.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial

from vedette._lib.patience import Patience
from vedette.errors import VedetteError

CHILD_TIMEOUT_S = 30.0
"""The bound of a first try."""
GROWN = 4
"""A child that is still not done after so many times the first bound hangs."""
KNOWN_FAULTS = {
    "numpy.dtype size changed":
        "It was built for another version of numpy. A numpy 2 from pip hides the numpy of apt (OpenCV >= 4.12 brings "
        "numpy 2 too). Use an environment with --system-site-packages, numpy<2 and opencv-python-headless<4.12, as "
        "`make install` does.",
    "_ARRAY_API not found":
        "It was built for numpy 1, but numpy 2 is installed. Install numpy<2 with opencv-python-headless<4.12, or "
        "install ai-edge-litert instead of tflite-runtime.",
    "libGL.so": "opencv-python needs desktop libraries. Install opencv-python-headless instead.",
    "Illegal instruction": "It was built for a newer processor than this one.",
}
"""What a failed import prints -> the cause and what to do."""


class ChildFailed(VedetteError):
    """A child process failed. The message ends with the last line that it printed."""


class ChildLate(ChildFailed):
    """A child process took too long. It may hang, or only be slow."""


def remedy_for(message: str) -> str:
    """Return the cause of a failed import and what to do, or an empty text."""
    return next((remedy for sign, remedy in KNOWN_FAULTS.items() if sign in message), "")


def in_child(code: str, timeout_s: float = CHILD_TIMEOUT_S) -> str:
    """Run a line of Python in a fresh process and return what it printed. `timeout_s` bounds the first of three tries.

    Raises: ChildFailed.
    """
    return Patience().until_success(timeout_s, partial(_in_child, code), ChildLate, most_s=GROWN * timeout_s)


def _in_child(code: str, timeout_s: float) -> str:
    try:
        ended = subprocess.run([sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, capture_output=True,
                               check=False, text=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ChildLate(f"hangs for more than {timeout_s:g} s") from error
    if ended.returncode < 0:
        raise ChildFailed(f"crashes: {signal.strsignal(-ended.returncode)}")
    if ended.returncode:
        signs = [sign for sign in KNOWN_FAULTS if sign in ended.stderr]
        raise ChildFailed(": ".join([*signs, *ended.stderr.strip().splitlines()[-1:]]))
    return ended.stdout.strip()
