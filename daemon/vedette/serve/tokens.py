"""The bearer tokens that are accepted: those of a file, one a line, read again for every request.

Invariants: no token is logged or repeated; a comparison takes equally long for every wrong token; when the file cannot
be read, no request is accepted. Without a file every request is; the command allows that on loopback only.
"""

from __future__ import annotations

import codecs
import hmac
import logging
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1 << 20


def read_tokens(path: Path) -> list[bytes]:
    """Return the tokens of a file. Raises: OSError, whose `strerror` says what is wrong."""
    return read_whole(path, FILE_BYTES_MAX).removeprefix(codecs.BOM_UTF8).split()


class Tokens:
    """Checks tokens, on any thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def allow(self, authorization: str) -> bool:
        """Return whether the value of an `Authorization` header is accepted."""
        if self._path is None:
            return True
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        try:
            known = read_tokens(self._path)
        except OSError as error:
            log.error("%s: cannot be read, so no token is accepted: %s", self._path, error.strerror)
            return False
        matches = [hmac.compare_digest(given, each) for each in known]
        return scheme.lower() == "bearer" and any(matches)
