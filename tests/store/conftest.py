"""A place for tests that make thousands of folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may enter, in memory where the machine has /dev/shm."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it has a name of its own
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
