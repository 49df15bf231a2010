"""Writes the stack of every thread to standard error: on SIGUSR1, and once more before a fatal signal kills us. And to
a file of the caller's, when he does not call again in time.

Invariants: written by C code from inside the signal handler, so that it works while a native call holds the GIL;
on SIGABRT (systemd's watchdog) and on crashes the process still dies of the signal; SIGUSR1 changes nothing. That
dump knows threads by number only: on SIGUSR1 their names follow as soon as the main thread runs Python again.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from typing import TextIO


def dump_on_signals(stream: TextIO | None = None) -> None:
    """Install both dumps. Main thread only; `stream` (default: standard error) must have a descriptor and stay open."""
    stream = stream or sys.stderr
    descriptor = stream.fileno()
    faulthandler.enable(file=stream, all_threads=True)
    signal.signal(signal.SIGUSR1, lambda *_: _write_names(descriptor))
    faulthandler.register(signal.SIGUSR1, file=stream, all_threads=True, chain=True)


def expect_again_within(seconds: float, descriptor: int) -> None:
    """Write the stacks there unless called again within so long, by a thread that needs no Python. Replaces the last
    expectation.
    """
    faulthandler.dump_traceback_later(seconds, file=descriptor)


def expect_nothing() -> None:
    """End the expectation. Safe to call without one."""
    faulthandler.cancel_dump_traceback_later()


def _write_names(descriptor: int) -> None:
    lines = [f"Thread 0x{thread.ident or 0:016x} is {thread.name}\n" for thread in threading.enumerate()]
    # Not through the stream: the main thread may be in the middle of writing to it, and it is not reentrant.
    os.write(descriptor, "".join(lines).encode("utf-8", "replace"))
