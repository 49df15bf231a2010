"""Makes the message about a wrong value: what was expected, what was given, and which key may be meant.

Invariants: a text that may be a secret is never repeated (credentials in URLs, values of keys named for secrets);
each problem that pydantic reports becomes exactly one line.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from vedette.config.document import KeyPath, Problem
from vedette.config.keys import keys
from vedette.net.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_SECRET_NAME = re.compile(r"pass|secret|token|credential|pwd", re.IGNORECASE)
_LONGEST_SEEN = 60

_EXPECTED = {
    "model_type": "a section of keys and values",
    "dict_type": "keys and values",
    "tuple_type": "a list",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "1 to 63 characters of a-z, 0-9, _ and -, the first one a letter or a digit",
    "missing": "one more item in this list",
    "too_short": "more items in this list",
    "bool_type": "true or false",
}
_PREFIXES = ("Input should be ", "Value error, expected ", "Value error, ")


def is_secret(path: KeyPath) -> bool:
    """Whether a key, or one above it, is named for a secret. Then its value is never repeated."""
    return any(_SECRET_NAME.search(str(part)) for part in path)


def key_text(path: KeyPath) -> str:
    """Dotted name of a key: `camera.masks[0][1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}" for part in path).lstrip(".")


def _one_line(part: str) -> str:
    return part if part.isprintable() else json.dumps(part)


def problem_of(error: ErrorDetails) -> Problem:
    """Return the problem that pydantic reports, with our own message."""
    path: KeyPath = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        return Problem(path, unknown_key(path))
    expected = _EXPECTED.get(error["type"]) or _expected(error)
    return Problem(path, f"expected {expected}, saw {_seen(path, error)}{_meaning(path)}")


def unknown_key(path: KeyPath) -> str:
    """Return the message about an unknown key, with the key that may be meant."""
    above, name = path[:-1], str(path[-1])
    siblings = sorted({key.path[len(above)] for key in keys() if key.path[:-1][:len(above)] == above})
    elsewhere = sorted(key.name for key in keys() if key.path[-1] == name)
    return "unknown key" + did_you_mean(name, siblings, elsewhere)


def did_you_mean(name: str, candidates: Iterable[str], otherwise: Iterable[str] = ()) -> str:
    """`; did you mean …?` with the closest candidate, else the first of `otherwise`, else nothing."""
    close = [*difflib.get_close_matches(name, list(candidates), 1), *otherwise]
    return f"; did you mean {close[0]}?" if close else ""


def _seen(path: KeyPath, error: ErrorDetails) -> str:
    if is_secret(path):
        return "***"
    seen = masked(json.dumps(error["input"], ensure_ascii=False, default=str))
    return seen if len(seen) <= _LONGEST_SEEN else seen[:_LONGEST_SEEN] + "…"


def _expected(error: ErrorDetails) -> str:
    message = error["msg"]
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    if error["type"].startswith(("greater_than", "less_than")):
        return f"a number {message}"
    return message.replace("False", "false") if error["type"] == "literal_error" else message


def _meaning(path: KeyPath) -> str:
    """Return the key's meaning in parentheses, so that the line says how to correct the value."""
    return next((f" ({key.meaning.removesuffix('.')})" for key in keys() if key.path == path), "")
