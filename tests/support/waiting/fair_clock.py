"""The clock for time limits, so that a test measures the product and not other processes."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_S = 240.0
"""How long a test waits for what only a defect keeps away."""
_STARVED = Path("/proc/pressure/cpu")


def fair_s() -> float:
    """Seconds since some moment, less those in which a task of this machine waited for a processor."""
    return time.monotonic() - starved_s()


def starved_s() -> float:
    """The seconds that some task of this machine waited for a processor, since some moment; 0 without PSI."""
    try:
        some = _STARVED.read_text().partition("\n")[0]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6
