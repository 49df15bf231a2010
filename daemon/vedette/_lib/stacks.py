"""Writes stacks: to standard error on SIGUSR1 and before a fatal signal, to a file when the main thread hangs.

Invariants: a living process never walks the frames of threads that run, since that crashes it. So on SIGUSR1 C code
writes the main thread's stack at once, also while a native call holds the GIL; the stacks and names of all threads
follow as soon as the main thread runs Python again. On SIGABRT (systemd's watchdog) and on crashes every stack is
written, and the process still dies of the signal.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TextIO


def dump_on_signals(stream: TextIO | None = None) -> None:
    """Install both dumps. Main thread only; `stream` (default: standard error) must have a descriptor and stay open."""
    stream = stream or sys.stderr
    descriptor = stream.fileno()
    faulthandler.enable(file=stream, all_threads=True)
    signal.signal(signal.SIGUSR1, partial(_write_all, descriptor))
    faulthandler.register(signal.SIGUSR1, file=stream, all_threads=False, chain=True)


class HangDump:
    """Writes the main thread's stack to a file while the main thread hangs. The constructor acquires; main thread only.

    The handler of SIGALRM writes it, on the main thread itself and without Python. A timer thread of C
    (`faulthandler.dump_traceback_later`) must not do it: it walks the frames of threads that run. After a pause of the
    machine or of the process that is a crash.
    """

    def __init__(self, path: Path) -> None:
        """Raises: OSError when the file cannot be opened."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)
        faulthandler.register(signal.SIGALRM, file=self._descriptor, all_threads=False)

    def arm(self, seconds: float) -> None:
        """Have the stack written unless called again within `seconds`; what was written before is removed."""
        signal.setitimer(signal.ITIMER_REAL, seconds)
        if os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Write nothing any more. The file stays."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)
        os.close(self._descriptor)


def _write_all(descriptor: int, *_: object) -> None:
    faulthandler.dump_traceback(descriptor, all_threads=True)       # this thread has the GIL: no other one runs
    lines = [f"Thread 0x{thread.ident or 0:016x} is {thread.name}\n" for thread in threading.enumerate()]
    # The stream is not used: the main thread may be writing to it, and it is not reentrant.
    os.write(descriptor, "".join(lines).encode("utf-8", "replace"))
