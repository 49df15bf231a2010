"""A folder of the cache that is made once: whole, or not at all.

    street-<digest>             a link to the folder that is used
    street-<digest>.<random>/   that folder; it is never moved, because scripts of an environment name it
    street.lock                 who makes one now

Invariants: only a complete folder has a link, whatever ends this process. What has no link is removed by the next one
who makes such a folder. The digest says what it was made from, so nothing here is ever out of date.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

DIGITS = 12
"""Of the digest, in the name of a link."""


def cache() -> Path:
    """Return the folder in which the workshop keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or "/", ".cache"), "vedette")


def made(link: Path, proof: str, make: Callable[[Path], None], wait: Callable[[], None]) -> Path:
    """Return `link`, a folder that `make` has filled; `proof` is a file that it then has.

    `make` gets an empty folder. `wait` is called before this waits for another process. Raises: OSError, and what
    `make` raises.
    """
    if (link / proof).exists():
        return link
    link.parent.mkdir(parents=True, exist_ok=True)
    stem = link.name[:-DIGITS - 1]
    with _locked(link.with_name(f"{stem}.lock"), wait):
        if not (link / proof).exists():     # another process may have made it just now
            _remove_unfinished(link.parent, stem)
            folder = Path(tempfile.mkdtemp(prefix=f"{link.name}.", dir=link.parent))
            try:
                make(folder)
                _link(folder, link)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return link


@contextlib.contextmanager
def _locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    with path.open("a") as lock:        # the kernel unlocks it, also after SIGKILL
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unfinished(home: Path, stem: str) -> None:
    named = f"{glob.escape(stem)}-{'?' * DIGITS}"
    used = {link.resolve() for link in home.glob(named)}
    for entry in home.glob(f"{named}.*"):
        if entry.is_symlink():
            entry.unlink()
        elif entry.is_dir() and entry.resolve() not in used:
            shutil.rmtree(entry, ignore_errors=True)


def _link(folder: Path, link: Path) -> None:
    """Let the name stand for this folder, in one step."""
    beside = folder.with_name(f"{folder.name}.link")
    beside.symlink_to(folder.name)
    beside.replace(link)
