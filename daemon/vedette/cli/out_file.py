"""Writes a file that an argument names.

Invariants: the file is complete or does not exist. The error names the argument and the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def check_folder(path: Path | None, argument: str) -> None:
    """Say before minutes of work that a file cannot be written; None is no file. Raises: UsageError."""
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"{argument} {path}: no such folder; expected a file name in an existing one")


def write_file(path: Path, content: bytes, argument: str) -> None:
    """Write the file, or replace it. Raises: UsageError."""
    try:
        replace_file(path, content, mode=0o644)
    except OSError as error:
        raise UsageError(f"{argument} {path}: {error.strerror}; expected a file name in an existing folder") from error
