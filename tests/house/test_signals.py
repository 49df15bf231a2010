"""Tests that send signals hold however they were started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IGNORING = "trap '' INT QUIT HUP TERM; exec \"$@\""
A_TEST_RUN = """
import os, signal, subprocess
from tests.support.daemon.signals import reset_in_children
reset_in_children()
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    os.kill(os.getpid(), number)
    print(number.name, subprocess.run(["sh", "-c", f"kill -{int(number)} $$"], check=False).returncode)
"""


def test_programs_begin_with_the_signals_of_a_terminal() -> None:
    """Where the test run ignores them, as in the background of a script, it still does, and its programs do not."""
    ended = subprocess.run(["sh", "-c", IGNORING, "sh", sys.executable, "-c", A_TEST_RUN], capture_output=True,
                           text=True, check=True, cwd=Path(__file__).parents[2])
    assert ended.stdout.split() == ["SIGINT", "-2", "SIGQUIT", "-3", "SIGHUP", "-1", "SIGTERM", "-15"]
