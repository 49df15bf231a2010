"""Writes the stack of every thread to standard error: on SIGUSR1, and once more before a fatal signal kills us.

Invariants: written by C code from inside the signal handler, so that it works while a native call holds the GIL;
on SIGABRT (systemd's watchdog) and on crashes the process still dies of the signal; SIGUSR1 changes nothing.
Threads are told apart by the functions in their stacks: the dump has no names before Python 3.14.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
from typing import TextIO


def dump_on_signals(stream: TextIO | None = None) -> None:
    """Install both dumps. `stream` (default: standard error) needs a file descriptor and must stay open."""
    stream = stream or sys.stderr
    faulthandler.enable(file=stream, all_threads=True)
    faulthandler.register(signal.SIGUSR1, file=stream, all_threads=True, chain=False)
