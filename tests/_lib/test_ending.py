"""The end of a server, in a process of its own, since a signal is for a whole process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.waiting.bounded_popen import BoundedPopen

SERVER = """
import threading
from vedette._lib.ending import Ending
end = Ending()
print("ready", flush=True)
if {asks}:
    threading.Thread(target=lambda: (end.ask(), end.ask())).start()
end.wait()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    """The process then ends in its own way."""
    command = [sys.executable, "-c", SERVER.format(asks=False)]
    with BoundedPopen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        server.send_signal(number)
        assert server.stdout.read() == "ended\n"
        assert server.wait(240) == 0


def test_a_thread_may_ask_for_the_end() -> None:
    """And again."""
    done = subprocess.run([sys.executable, "-c", SERVER.format(asks=True)], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "ready\nended\n")
