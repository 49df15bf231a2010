"""A slow board: a control group whose processes share a small part of one processor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting.until import wait_until

V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
PERIOD_US = 100_000


class SlowBoard:
    """A process joins it by `join`, before its program starts. Its children are born into it."""

    def __init__(self, group: Path) -> None:
        self._procs = group / "cgroup.procs"

    def join(self) -> None:
        """Call it in the new process (`preexec_fn`)."""
        self._procs.write_text(str(os.getpid()))


@contextmanager
def slow_board(percent: float) -> Iterator[SlowBoard]:
    """Make one with so many percent of one processor. At the end it must be empty. Raises: OSError where it cannot."""
    group = Path(tempfile.mkdtemp(prefix="slow-", dir=V1 if (V1 / "cpu.cfs_quota_us").exists() else V2))

    def is_removed() -> bool:
        with suppress(OSError):         # a process of it has not ended yet
            group.rmdir()
        return not group.exists()

    try:
        quota_us = round(PERIOD_US * percent / 100)
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        yield SlowBoard(group)
    finally:
        assert wait_until(is_removed), group


def can_be_slow() -> str | None:
    """Return why no slow board can be made here, None if one can."""
    try:
        with slow_board(50):
            return None
    except OSError as error:
        return str(error)
