"""Reads a JSON file that an argument names.

Invariants: the error names the argument and the file; a file that is too large is not read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnsupported, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_BYTES_MAX = 16 << 20


def read_json(path: Path, argument: str) -> object:
    """Return the value in a file. Raises: UsageError (no such file), ModelUnsupported (no JSON)."""
    return _parsed(_text(path, argument), path, argument)


def read_json_lines(path: Path, argument: str) -> list[object]:
    """Return the one value in a file, or those of its lines. Raises: UsageError, ModelUnsupported."""
    text = _text(path, argument)
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return [_parsed(line, path, argument) for line in text.splitlines() if line.strip()]


def _text(path: Path, argument: str) -> str:
    try:
        return read_whole(path, _BYTES_MAX).decode()
    except OSError as error:
        raise UsageError(f"{argument} {path}: {error.strerror}; expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise ModelUnsupported(f"{argument} {path}: not UTF-8 text; expected a JSON file") from error


def _parsed(text: str, path: Path, argument: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnsupported(f"{argument} {path}: {error}; expected a JSON file") from error
