"""Gives the programs that tests start the signals of a terminal, however the tests were started.

A shell starts what runs in the background with SIGINT and SIGQUIT ignored, `nohup` with SIGHUP ignored, and every
program inherits that. An interrupt that a test sends would then do nothing.

Invariants: this process goes on ignoring what it ignored.
"""

from __future__ import annotations

import signal

_ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)


def reset_in_children() -> None:
    """Let programs that are started from now on begin with the default actions. Main thread; safe to call twice."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)     # a handler does not outlive exec, what is ignored does


def _nothing(*_: object) -> None:
    pass
