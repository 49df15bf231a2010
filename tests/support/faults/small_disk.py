"""A small disk, mounted as root: it can be filled, also for good."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def possible() -> bool:
    """Whether this process may mount a disk; it tries."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


@contextmanager
def mounted(at: Path, megabytes: int) -> Iterator[None]:
    """A disk in that existing folder; unmounted with everything below it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", at], check=True)
    try:
        yield
    finally:
        while at.is_mount():
            subprocess.run(["umount", "-R", "-l", at], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free; returns the files to remove."""
    waste = disk / "waste"
    with waste.open("wb") as file:
        while (space := os.statvfs(disk)).f_bavail:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), space.f_bavail * space.f_frsize)
    return waste
