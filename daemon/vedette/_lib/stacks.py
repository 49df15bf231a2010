"""Writes the stack of every thread: to standard error on SIGUSR1 and before a fatal signal, to a file after a hang.

Invariants: C code inside the signal handler writes it, so it works while a native call holds the GIL; on SIGABRT
(systemd's watchdog) and on crashes the process still dies of the signal; SIGUSR1 changes nothing. The dump has threads
by number only; on SIGUSR1 their names follow as soon as the main thread runs Python again.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from functools import partial
from typing import TextIO


def dump_on_signals(stream: TextIO | None = None) -> None:
    """Install both dumps. Main thread only; `stream` (default: standard error) must have a descriptor and stay open."""
    stream = stream or sys.stderr
    descriptor = stream.fileno()
    faulthandler.enable(file=stream, all_threads=True)
    signal.signal(signal.SIGUSR1, partial(_write_names, descriptor))
    faulthandler.register(signal.SIGUSR1, file=stream, all_threads=True, chain=True)


def dump_unless_called_within(seconds: float, descriptor: int) -> None:
    """Write the stacks to `descriptor` unless called again within `seconds`. A call replaces the one before.

    A thread that needs no Python writes them.
    """
    faulthandler.dump_traceback_later(seconds, file=descriptor)


def cancel_dump() -> None:
    """Cancel the pending dump. Safe to call without one."""
    faulthandler.cancel_dump_traceback_later()


def _write_names(descriptor: int, *_: object) -> None:
    lines = [f"Thread 0x{thread.ident or 0:016x} is {thread.name}\n" for thread in threading.enumerate()]
    # The stream is not used: the main thread may be writing to it, and it is not reentrant.
    os.write(descriptor, "".join(lines).encode("utf-8", "replace"))
