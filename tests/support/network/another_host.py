"""`vedette …` on a host of its own: `python another_host.py HOSTNAME MACHINE_ID …`, as root.

A UTS namespace has the host name, a mount namespace the machine id and an empty /var/lib.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from pathlib import Path

PROGRAM = (str(Path(__file__)),)
CLONE_NEWNS, CLONE_NEWUTS = 0x00020000, 0x04000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)


def possible() -> bool:
    """Whether this process may move to another host; asked in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(unshare(CLONE_NEWNS | CLONE_NEWUTS) != 0)
    return os.waitpid(child, 0)[1] == 0


def move(hostname: str, machine_id: str) -> None:
    """Let this process live on that host. Raises: OSError."""
    checked(unshare(CLONE_NEWNS | CLONE_NEWUTS))
    mount(b"none", "/", None, MS_REC | MS_PRIVATE)
    mount(b"tmpfs", "/var/lib", b"tmpfs", 0)
    socket.sethostname(hostname)
    note = Path("/var/lib/machine-id")
    note.write_text(machine_id + "\n")
    mount(bytes(note), "/etc/machine-id", None, MS_BIND)


def use_hosts(hosts: Path) -> None:
    """Let this process resolve names by that file in place of /etc/hosts. Raises: OSError."""
    checked(unshare(CLONE_NEWNS))
    mount(b"none", "/", None, MS_REC | MS_PRIVATE)
    mount(bytes(hosts), "/etc/hosts", None, MS_BIND)


def unshare(flags: int) -> int:
    """Leave these namespaces for new ones; returns 0, or where that failed another number and sets errno."""
    return int(_LIBC.unshare(flags))


def mount(source: bytes, target: str, kind: bytes | None, flags: int) -> None:
    """Mount it. Raises: OSError."""
    checked(_LIBC.mount(source, target.encode(), kind, flags, None))


def checked(code: int) -> None:
    """Raise OSError where the call returned an error."""
    if code != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    move(*sys.argv[1:3])
    os.environ["STATE_DIRECTORY"] = "/var/lib/vedette"
    from vedette.cli import main  # late: it is the other host's daemon
    sys.exit(main(sys.argv[3:]))
