"""Reads the bearer token that a client sends to a server.

Invariants: only a regular file of bounded size is opened; no message contains a character of the token.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_BYTES = 4096


def authorization(token_file: Path | None) -> dict[str, str]:
    """Return the header with the token of a file; none without a file. Raises: ValueError, as `read_token` does."""
    return {} if token_file is None else {"Authorization": f"Bearer {read_token(token_file)}"}


def read_token(path: Path) -> str:
    """Return the token that the file holds on its only line. Raises: ValueError, with the file and what is wrong."""
    try:
        content = read_whole(path, TOKEN_BYTES).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise ValueError(f"{path}: the token cannot be read: {error.strerror}") from error
    if not content.isascii():
        raise ValueError(f"{path}: expected a token of plain characters")
    token = content.decode("ascii").strip()
    if not token or any(character <= " " or character == "\x7f" for character in token):
        raise ValueError(f"{path}: expected one token on one line")
    return token
