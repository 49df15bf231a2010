"""Handles Ctrl-C while modules are imported, where KeyboardInterrupt shows a traceback or gets lost in a callback.

Invariants: a process that was started to ignore SIGINT (`nohup`, a shell's background) goes on ignoring it.
"""

from __future__ import annotations

import os
import signal

EXIT_CODE = 130


def leave_at_once() -> None:
    """Let Ctrl-C end the process at once, while there is nothing to clean up. Main thread."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def leave_in_order() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    os._exit(EXIT_CODE)
