"""The folder of the clips: their names, their quota and their age.

Invariants:
- Only regular files with a name that this device gave are ever deleted. Clips of other devices may lie beside them.
- A clip has its name only when it is complete; before that its name begins with a dot.
- Clips and the one under way never exceed the quota, and they leave FREE_BYTES of the disk to others.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

FREE_BYTES = 100_000_000
_TIME = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z"
_UNFINISHED = ".tmp"
_DAY_S = 86_400


class ClipFolder:
    """The clips of one device in a folder. One thread. Most methods raise OSError, which names the path."""

    def __init__(self, path: Path, device: str, *, mb: float, days: float) -> None:
        self.path = path
        self._device = device
        self._quota_bytes = int(mb * 1e6)
        self._days = days
        self._own = re.compile(rf"{_TIME}\.{re.escape(device)}\.[^/]+\.avi")
        self._sizes: dict[str, int] = {}
        """Bytes by name, the oldest first, as of the last `tidy`, less those that were deleted since."""

    def __repr__(self) -> str:
        return f"<ClipFolder {self.path} {len(self._sizes)} clips>"

    def paths_for(self, captured_at: datetime, event_id: str, label: str) -> tuple[Path, Path]:
        """Return the path to write a new clip to, and that of the complete clip. Names sort by time."""
        at = captured_at.astimezone(UTC)
        time = f"{at:%Y-%m-%dT%H-%M-%S}.{at.microsecond // 1000:03}Z"
        name = f"{time}.{self._device}.{_part(event_id, 40)}.{_part(label, 80)}.avi"
        return self.path / f".{name}{_UNFINISHED}", self.path / name

    def tidy(self, now: datetime | None) -> None:
        """Delete what is too old or too much, and what an earlier run did not finish. Not while a clip is written.

        `now` is None where the wall clock cannot be trusted: then nothing is too old.
        Raises: OSError also if the folder cannot take a clip.
        """
        sizes = {}
        for name in sorted(path.name for path in self.path.iterdir()):
            whole = name[1:].removesuffix(_UNFINISHED) if name.startswith(".") else name
            status = self._status(name) if self._own.fullmatch(whole) else None
            if status is None:
                continue
            if whole != name or (now and now.timestamp() - status.st_mtime > self._days * _DAY_S):
                self._delete(name)
            else:
                sizes[name] = status.st_size
        self._sizes = sizes
        if not os.access(self.path, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise _failure(errno.EROFS if is_read_only else errno.EACCES, self.path)
        self.make_room(0)

    def make_room(self, size_bytes: int) -> bool:
        """Delete the oldest clips until one of this size fits the quota; returns whether it does now."""
        while self._sizes and sum(self._sizes.values()) + size_bytes > self._quota_bytes:
            oldest = next(iter(self._sizes))
            self._delete(oldest)
            del self._sizes[oldest]
        space = os.statvfs(self.path)
        if space.f_bavail * space.f_frsize < FREE_BYTES:
            raise _failure(errno.ENOSPC, self.path)
        return size_bytes <= self._quota_bytes

    def _status(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file, and None for anything else."""
        try:
            status = (self.path / name).lstat()
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


def _part(text: str, most: int) -> str:
    """Return text as a part of a file name on any file system: percent-encoded, without dots."""
    return quote(text, safe="", errors="surrogatepass").replace(".", "%2E")[:most]


def _failure(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
