"""Reads a JSON document out of a network that is a ZIP file, bounded. Nothing is unpickled."""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from vedette.errors import ModelUnreadable

if TYPE_CHECKING:
    from pathlib import Path

JSON_BYTES_MAX = 256 << 20
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError, OverflowError)


def document(path: Path, *endings: str) -> Any:
    """Return the JSON document of the first file in the archive with such an ending. Raises: ModelUnreadable."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for ending in endings for entry in archive.infolist()
                     if entry.filename.endswith(ending) and entry.file_size <= JSON_BYTES_MAX]
            if names:
                return json.loads(archive.read(names[0]))
    except OSError as error:
        raise ModelUnreadable(f"{path}: {error.strerror}; expected a network") from error
    except _DAMAGE as error:
        raise ModelUnreadable(f"{path}: cut off or damaged: {error}") from error
    raise ModelUnreadable(f"{path}: no {' or '.join(endings)} in it; expected it as its exporter wrote it")
