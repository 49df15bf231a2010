"""The file of the local socket: made in one step, shared with a group, and never taken from a living daemon.

Invariants: nobody can connect before the mode is 0660 and the group is set; the socket of a dead run is replaced, that
of a living one is not; the path may be longer than an address of a unix socket, because it is opened by its folder.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "vedette-page"
"""The group of the socket, where it exists and the daemon is in it; else that of the daemon."""
MODE = 0o660
BACKLOG = 64
SO_PEERGROUPS = 59
"""socket(7), since Linux 4.13: the supplementary groups of the other side. Python has no name for it."""
_GROUPS_BYTES = 1024


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give an address of the socket at this path that is short, whatever the path is. Raises: OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def is_alive(path: Path) -> bool:
    """Return whether somebody listens on the socket at this path. Raises: OSError if there is no such folder."""
    with address_of(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(address) not in (errno.ENOENT, errno.ECONNREFUSED)


class SocketFile:
    """A socket that listens at a path. One thread; `close` is safe to call twice."""

    def __init__(self, path: Path, group: str = GROUP) -> None:
        self.path = path
        self._group = group
        self.group = os.getegid()
        """The group whose members may connect."""
        self.listening: socket.socket | None = None
        self._status: os.stat_result | None = None

    def __repr__(self) -> str:
        return f"<SocketFile {self.path} {'open' if self.listening else 'closed'}>"

    def open(self) -> socket.socket:
        """Listen at the path. Raises: OSError; its errno is EADDRINUSE where a living daemon listens there."""
        if is_alive(self.path):
            raise OSError(errno.EADDRINUSE, "another daemon listens there", str(self.path))
        fresh = self.path.with_name(f".{self.path.name}.new")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with suppress(FileNotFoundError):
                fresh.unlink()
            with address_of(fresh) as address:
                listening.bind(address)
            self.group = _share(fresh, self._group)
            listening.listen(BACKLOG)
            fresh.rename(self.path)
            self._status = self.path.lstat()
        except BaseException:
            listening.close()
            raise
        self.listening = listening
        return listening

    def is_there(self) -> bool:
        """Return whether the file at the path is still this socket."""
        try:
            return self._status is not None and os.path.samestat(self._status, self.path.lstat())
        except OSError:
            return False

    def close(self) -> None:
        """Stop listening, and remove the file if it is still this socket."""
        if self.listening is not None:
            with suppress(OSError):
                if self.is_there():
                    self.path.unlink()
            self.listening.close()
            self.listening = None


def may_use(client: socket.socket, group: int) -> bool:
    """Return whether the other side is root, this process' own user, or a member of the group."""
    try:
        _, uid, gid = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid in (0, os.geteuid()) or gid == group:
            return True
        groups = client.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:     # more groups than that, or an old kernel
        return False
    return group in struct.unpack(f"{len(groups) // 4}I", groups)


def _share(path: Path, name: str) -> int:
    """Set mode and group of the socket; returns the number of the group. Raises: OSError."""
    path.chmod(MODE)
    with suppress(KeyError, PermissionError):
        group = grp.getgrnam(name).gr_gid
        if os.geteuid() == 0 or group in os.getgroups():
            os.chown(path, -1, group)
    return path.lstat().st_gid
