"""Refuses to start a daemon in a test that does not carry the mark `daemon`.

Invariants: every process that a test starts is seen, whichever helper starts it (Python reports it to an audit hook).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

DAEMON = re.compile(r"(?:\bvedette|\$VEDETTE) run\b|support/daemon/\w+\.py|tests/campaign/\w+\.py|tools/demo\.py")
"""A command line that starts a daemon, or a program that does."""


class UnmarkedDaemon(BaseException):
    """A test without the mark started a daemon; no test may catch this by accident."""


class DaemonGuard:
    """`marked`: whether the test that runs now carries the mark."""

    def __init__(self) -> None:
        self.marked = False

    def on_audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """The audit hook. Raises: UnmarkedDaemon."""
        if event == "subprocess.Popen" and not self.marked and DAEMON.search(_command_line(arguments[1])):
            raise UnmarkedDaemon(f"mark this test with @pytest.mark.daemon: it starts {_command_line(arguments[1])}")


def _command_line(arguments: object) -> str:
    if isinstance(arguments, str | bytes | os.PathLike):
        return os.fsdecode(arguments)
    assert isinstance(arguments, Iterable)
    return " ".join(os.fsdecode(argument) for argument in arguments)
