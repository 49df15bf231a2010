"""A test that starts a daemon says so by its mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon.guard import UnmarkedDaemon
from tests.support.daemon.running import RunningDaemon


def test_a_daemon_without_the_mark_is_refused(tmp_path: Path) -> None:
    """The helper cannot start one in a test that lacks the mark."""
    with pytest.raises(UnmarkedDaemon, match=r"mark this test with @pytest\.mark\.daemon"):
        RunningDaemon(tmp_path, "--help")


@pytest.mark.daemon
def test_a_daemon_with_the_mark_starts(tmp_path: Path) -> None:
    """The mark allows it."""
    with RunningDaemon(tmp_path, "--help") as daemon:
        assert daemon.ends() == 0, daemon.log
