"""Which bearer tokens are let in: those of a file, one a line, read anew for every request.

Invariants: no token is logged or repeated; comparing takes as long whichever is wrong; a file that cannot be read lets
nobody in. Without a file everybody is let in, which the command allows on loopback only.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1 << 20


class Tokens:
    """Any thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def allow(self, authorization: str) -> bool:
        """Whether the value of an `Authorization` header is let in."""
        if self._path is None:
            return True
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        try:
            known = read_whole(self._path, FILE_BYTES_MAX).split()
        except OSError as error:
            log.error("%s: cannot be read, so nobody is let in: %s", self._path, error.strerror)
            return False
        matches = [hmac.compare_digest(given, each) for each in known]
        return scheme.lower() == "bearer" and any(matches)
