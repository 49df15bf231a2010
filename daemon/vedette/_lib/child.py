"""A child process, started from a module, with one message socket between parent and child.

Invariants:
- The child's end is its standard input, and it inherits nothing else. Its parameters and descriptors travel over the
  socket, never in argv or the environment: other processes can read those.
- The current folder is not searched for modules: no file there becomes code.
- One packet is one message (SOCK_SEQPACKET). A dead peer gives an end of file, after the messages that it still sent.
- No call here waits without a bound. A child that cannot be killed (uninterruptible sleep) is left behind.
- The child dies with the *thread* that started it (PR_SET_PDEATHSIG): start it from a thread that lives as long.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

MESSAGE_BYTES = 65536
_PR_SET_PDEATHSIG = 1


class Child:
    """A running `python -m module`. `environ` is added to the parent's environment."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self.socket.close)
            self.socket.setblocking(False)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                env={**os.environ, **environ}, process_group=0)   # Ctrl-C in a terminal must not reach it
            undo.pop_all()
        self.pid: int = self._process.pid

    def __repr__(self) -> str:
        return f"<Child {self.pid} {self.ending() or 'running'}>"

    def send(self, message: bytes, fds: tuple[int, ...] = ()) -> bool:
        """Send one message; returns False if the child has ended or its buffer is full. Any thread, never blocks."""
        try:
            socket.send_fds(self.socket, [message], fds) if fds else self.socket.send(message)
        except OSError:
            return False
        return True

    def receive(self) -> bytes | None:
        """Return the next message, None if there is none now, b"" if the child has closed its end."""
        try:
            return self.socket.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def ending(self) -> str | None:
        """Return a message that says how the child ended, or None while it runs. Never blocks."""
        code = self._process.poll()
        if code is None:
            return None
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"

    def stopped(self) -> bool:
        """Return whether the child is stopped (SIGSTOP, a debugger). Never blocks."""
        try:
            report = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return report is not None

    def wait(self, timeout_s: float) -> bool:
        """Wait for the child's end; returns whether it has ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):    # another thread has just collected its exit code
                _wait_for_end(self.pid, timeout_s)
        return self._process.poll() is not None

    def kill(self, timeout_s: float) -> bool:
        """End the child by SIGKILL; returns False if it does not die (it is then left behind)."""
        if self._process.poll() is None:
            self._process.kill()
        return self.wait(timeout_s)

    def close(self) -> None:
        """Close the parent's end: the child then ends by itself. Safe to call twice."""
        self.socket.close()


def _wait_for_end(pid: int, timeout_s: float) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(timeout_s * 1000)
    finally:
        os.close(descriptor)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def begin_as_child() -> socket.socket:
    """Call this first in a child's main: the child then dies with its parent. Returns the child's end of the socket.

    SIGINT and SIGTERM are ignored: systemd sends them to every process of the unit, and the parent ends the child by
    closing its end. A child whose parent has died meanwhile ends without a word: nobody waits for one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        link = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    except OSError:
        sys.exit("started without a parent: expected the daemon to start this module")
    if _peer_pid(link) != os.getppid():
        sys.exit(1)
    return link


def _peer_pid(link: socket.socket) -> int:
    # The parent may have died before prctl. Then init is the parent now, and nobody would end this child.
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)
