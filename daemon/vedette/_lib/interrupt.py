"""Ctrl-C while modules are still read, where KeyboardInterrupt shows tracebacks or gets lost in a callback.

Invariants: a process that was told to ignore SIGINT (`nohup`, a shell's background) goes on ignoring it.
"""

from __future__ import annotations

import os
import signal

EXIT_CODE = 130


def leave_at_once() -> None:
    """Have Ctrl-C end the process on the spot: for as long as there is nothing to clear up. Main thread."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def leave_in_order() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    os._exit(EXIT_CODE)
