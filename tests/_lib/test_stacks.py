"""Stack dumps of a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen

STUCK = """
import os, signal, threading
from vedette._lib import stacks
stacks.dump_on_signals()
started = threading.Event()
def patient_work():
    started.set()
    threading.Event().wait(60)
threading.Thread(target=patient_work, name="detect", daemon=True).start()
started.wait(60)
os.kill(os.getpid(), signal.SIGUSR1)
os.write(1, b"alive")
os.abort()
"""


def test_stacks_are_dumped_on_signals() -> None:
    """SIGUSR1 shows every thread with its name and changes nothing; an abort shows them again and ends the process."""
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, timeout=240)
    assert ended.returncode == -signal.SIGABRT
    assert ended.stdout == b"alive"
    assert ended.stderr.count(b"in patient_work") == 2
    assert b" is detect\n" in ended.stderr


BUSY = """
import threading
from vedette._lib import stacks
stacks.dump_on_signals()
def deep(depth):
    return [depth] if depth == 0 else [*deep(depth - 1), depth]
def busy():
    while True:
        deep(500)
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
print(flush=True)
threading.Event().wait()
"""


def test_a_busy_process_survives_the_signal() -> None:
    """SIGUSR1 from outside comes while threads run: to walk their frames then is a crash."""
    with BoundedPopen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        present(process.stdout).readline()
        for _ in range(150):
            process.send_signal(signal.SIGUSR1)
            threading.Event().wait(0.01)
        assert process.poll() is None
        process.kill()
