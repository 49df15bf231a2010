"""How much memory this process has used at most."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> int:
    """Return the peak of the resident memory since this program began; `ru_maxrss` counts the program before it too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10
