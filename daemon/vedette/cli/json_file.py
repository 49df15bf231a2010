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

_BYTES_MAX = 1 << 20


def read_json(path: Path, argument: str) -> object:
    """Return the value in a file. Raises: UsageError (no such file), ModelUnsupported (no JSON)."""
    try:
        return json.loads(read_whole(path, _BYTES_MAX))
    except OSError as error:
        raise UsageError(f"{argument} {path}: {error.strerror}; expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise ModelUnsupported(f"{argument} {path}: not UTF-8 text; expected a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnsupported(f"{argument} {path}: {error}; expected a JSON file") from error
