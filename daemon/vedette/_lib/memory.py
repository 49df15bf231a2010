"""Measures the pressure on memory, for the machine and for this process's control group (version 2).

Invariants: every value may be None, since not every kernel reports it; a missing file raises nothing. One thread at a
time.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WINDOW_S = 4.0
"""The window in which waiting is measured; the kernel updates its counters every two seconds."""
PRESSED_FROM, PRESSED_BELOW = 0.05, 0.025
"""Shares of that window in which a process waited: pressure starts at the first and ends below the second."""


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """One reading. `allowed`: bytes left of the group's limit; `stalled`: share of the last seconds spent waiting."""

    allowed: int | None
    stalled: float | None
    pressed: bool | None


class MemoryGauge:
    """`root` is the root of the file system, `monotonic` gives seconds."""

    def __init__(self, root: Path, monotonic: Callable[[], float]) -> None:
        self._root = root
        self._monotonic = monotonic
        self._machine, self._group = _Stall(), _Stall()
        self._pressed = False

    def read(self) -> MemoryReading:
        """Read the files; the greater share of the machine's and the group's waiting counts."""
        now_s, group = self._monotonic(), self._own_group()
        shares = (self._machine.share(self._text("proc/pressure/memory"), now_s),
                  self._group.share(self._text(f"{group}/memory.pressure") if group else "", now_s))
        stalled = max((share for share in shares if share is not None), default=None)
        self._pressed = stalled is not None and stalled >= (PRESSED_BELOW if self._pressed else PRESSED_FROM)
        return MemoryReading(self._allowed(group) if group else None, None if stalled is None else round(stalled, 3),
                             None if stalled is None else self._pressed)

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text("ascii", "replace")
        except OSError:
            return ""

    def _own_group(self) -> str | None:
        found = re.search(r"^0::/(.*)$", self._text("proc/self/cgroup"), re.MULTILINE)
        return f"sys/fs/cgroup/{found[1]}".rstrip("/") if found else None

    def _allowed(self, group: str) -> int | None:
        """Return the bytes left. Pages of files count as free, since the kernel frees them; shared memory does not."""
        texts = (self._text(f"{group}/memory.{name}").strip() for name in ("current", "max", "high"))
        used, *limits = (int(text) if text.isdecimal() else None for text in texts)
        limit = min((each for each in limits if each is not None), default=None)
        if used is None or limit is None:
            return None
        back = re.findall(r"^(?:active_file|inactive_file|slab_reclaimable) (\d+)$",
                          self._text(f"{group}/memory.stat"), re.MULTILINE)
        return max(0, limit - used + sum(map(int, back)))


class _Stall:
    """One pressure file."""

    def __init__(self) -> None:
        self._totals: deque[tuple[float, int]] = deque()

    def share(self, text: str, now_s: float) -> float | None:
        """Return the share of the last seconds in which a process waited; at first, the kernel's own of ten."""
        found = re.search(r"^some avg10=(\d+\.\d+) .*total=(\d+)$", text, re.MULTILINE)
        if not found:
            return None
        while len(self._totals) > 1 and now_s - self._totals[1][0] >= WINDOW_S:
            self._totals.popleft()
        self._totals.append((now_s, int(found[2])))
        (began_s, before), (_, total) = self._totals[0], self._totals[-1]
        if now_s - began_s < 1:
            return min(1.0, float(found[1]) / 100)
        return min(1.0, max(0, total - before) / 1e6 / (now_s - began_s))
