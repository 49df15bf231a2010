"""Secrets to plant, and the search for them in any output of a process, in any encoding.

Each has a core of random letters and digits, which no encoding but base64 and hexadecimal changes; around it stand the
characters that encodings do change. Eight letters of a core in a row are found: half of it is too much already.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LEAST = 8
"""Characters of a core that are no accident."""


@dataclass(frozen=True)
class Secret:
    """A planted text, and its signs to search for."""

    name: str
    text: str
    cores: tuple[str, ...]

    def signs(self) -> set[bytes]:
        """Return the signs that reveal it, in lower case except for base64."""
        return {sign for core in self.cores for sign in (*_pieces(core), *_pieces(core.encode().hex(), 2 * LEAST))}

    def codes(self) -> set[bytes]:
        """Return the middle of its base64, at each of the three alignments."""
        return {_middle(core.encode(), before) for core in self.cores for before in range(3)}


def plant(name: str, pattern: str = "{}") -> Secret:
    """Make a secret: `pattern` with the core in the place of {}."""
    core = uuid.uuid4().hex[:16]
    return Secret(name, pattern.replace("{}", core), (core,))


def of_pem(name: str, path: Path) -> Secret:
    """Take the content of a PEM file as a secret: 24 characters of each of its lines."""
    text = path.read_text()
    return Secret(name, text, tuple(line[:24] for line in text.splitlines() if re.fullmatch(r"[\w+/=]{24,}", line)))


def found(secrets: Iterable[Secret], where: str, content: bytes) -> list[str]:
    """Return each secret that is in the content, with some of the text before it."""
    lower = content.lower()
    places = []
    for secret in secrets:
        at = next((at for sign in secret.signs() if (at := lower.find(sign)) >= 0), -1)
        if at < 0:
            at = next((at for code in secret.codes() if (at := content.find(code)) >= 0), -1)
        if at >= 0:
            places.append(f"{secret.name} in {where}: …{content[max(0, at - 80):at + 40]!r}")
    return places


def _pieces(core: str, length: int = LEAST) -> set[bytes]:
    low = core.lower()
    return {low[at:at + length].encode() for at in range(max(1, len(low) - length + 1))}


def _middle(core: bytes, before: int) -> bytes:
    """Return the base64 characters that the core alone decides, with so many bytes before it."""
    coded = base64.b64encode(b"\0" * before + core)
    return coded[-(-before * 8 // 6):(before + len(core)) * 8 // 6]
