"""Gives the programs that tests start the signals of a terminal, however the tests were started; or far too many.

A shell starts what runs in the background with SIGINT and SIGQUIT ignored, `nohup` with SIGHUP ignored, and every
program inherits that. An interrupt that a test sends would then do nothing.

Invariants: this process goes on ignoring what it ignored.
"""

from __future__ import annotations

import signal
from pathlib import Path

# The interpreter tells a profile function of each call and each return: the same moments in every run, without a clock.
AT_EACH_CALL = """
import os, signal, sys
start, file, left = os.environ["INTERRUPT_FROM"], os.environ["INTERRUPT_IN"], 200
def begin(frame, event, argument):
    if frame.f_code.co_name == start and os.path.basename(frame.f_code.co_filename) == file:
        sys.setprofile(interrupt)
def interrupt(frame, event, argument):
    global left
    left -= 1
    os.kill(os.getpid(), signal.SIGINT)
    if not left:
        sys.setprofile(None)
sys.setprofile(begin)
"""
_ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)


def reset_in_children() -> None:
    """Let programs that are started from now on begin with the default actions. Main thread; safe to call twice."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)     # a handler does not outlive exec, what is ignored does


def interrupted_at_each_call(folder: Path, file: str, function: str) -> dict[str, str]:
    """The variables of a program that gets SIGINT at the next 200 calls and returns once it calls this function."""
    (folder / "sitecustomize.py").write_text(AT_EACH_CALL)
    return {"PYTHONPATH": str(folder), "INTERRUPT_IN": file, "INTERRUPT_FROM": function}


def _nothing(*_: object) -> None:
    pass
