"""Reads the small documents that come with a model: JSON, and the literals of Python that older exporters write.

Invariants: nothing is evaluated. A document is measured before it is parsed: its bytes, and its values as far as commas
and brackets count them. So no document takes more than about 50 MB or one second.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from vedette.errors import ModelUnsupported

if TYPE_CHECKING:
    from pydantic import ValidationError

    from vedette.tflite.file import ModelFile

DOCUMENT_BYTES_MAX = 2 << 20
VALUES_MAX = 100_000
LITERAL_CHARACTERS_MAX = 256 << 10
PROBLEMS_MAX = 1000
_TOKEN = re.compile(r"""\s*(?:
      (?P<word>[A-Za-z]+) | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) | (?P<mark>[{}\[\](),:])
    | '(?P<single>(?:[^'\\\n]|\\.)*)' | "(?P<double>(?:[^"\\\n]|\\.)*)")""", re.VERBOSE)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_BRACKETS = {"(": "[", ")": "]"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def document(model: ModelFile, name: str) -> bytes:
    """Return an attachment that is to be parsed; empty where there is none. Raises: ModelUnsupported (too large)."""
    content = model.attachments.get(name, b"")
    check_size(content, f"{model.path}: {name}")
    return content


def check_size(content: bytes, where: str) -> None:
    """Raise ModelUnsupported, naming `where`, for a document that is too large to be parsed."""
    values = content.count(b",") + content.count(b"[") + content.count(b"{")
    if len(content) > DOCUMENT_BYTES_MAX or values > VALUES_MAX:
        raise ModelUnsupported(f"{where}: {len(content):,} bytes with about {values:,} values; expected at most "
                               f"{DOCUMENT_BYTES_MAX:,} bytes and {VALUES_MAX:,} values")


def parse_dict(content: bytes) -> dict[str, object] | None:
    """Return a JSON object, or a dict written as a Python literal; None for another document."""
    value = parse_value(content.decode("utf-8", "replace"))
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else None


def parse_value(text: str) -> object:
    """Return the value of a JSON document or of a Python literal; None for another text."""
    for parse in (json.loads, _parse_literal):
        try:
            return parse(text)
        except (ValueError, RecursionError):
            continue
    return None


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the key of the first problem, empty for the whole, and its message; of very many only the number."""
    if error.error_count() > PROBLEMS_MAX:      # pydantic makes a list of all of them, 2 kB each
        return "", f"{error.error_count():,} problems"
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"]


def _parse_literal(text: str) -> object:
    """Return the value of a Python literal of dicts, lists, tuples, strings, numbers and names. Raises: ValueError."""
    if len(text) > LITERAL_CHARACTERS_MAX:
        raise ValueError(f"{len(text):,} characters; expected at most {LITERAL_CHARACTERS_MAX:,}")
    parts: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"no literal at character {at}")
        at = token.end()
        part = _as_json(token, is_key=text[at:at + 1] == ":")
        if part in {"]", "}"} and parts and parts[-1] == ",":
            parts.pop()     # Python allows a comma after the last item, JSON does not
        parts.append(part)
    return json.loads(" ".join(parts))


def _as_json(token: re.Match[str], *, is_key: bool) -> str:
    kind, found = str(token.lastgroup), token[str(token.lastgroup)]
    if kind in {"single", "double"}:
        return json.dumps(_ESCAPE.sub(_unescaped, found))
    if kind == "mark":
        return _BRACKETS.get(found, found)
    return json.dumps(found) if is_key else _WORDS.get(found, found)


def _unescaped(escape: re.Match[str]) -> str:
    *codes, letter = escape.groups()
    code = next((code for code in codes if code), None)
    return chr(int(code, 16)) if code else _ESCAPES.get(letter, letter)
