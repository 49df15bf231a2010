"""Makes the message about a wrong value: what was expected, what was given, and which key may be meant.

Invariants: a text that may be a secret is never repeated (credentials in URLs, values of keys named for secrets);
each problem that pydantic reports becomes exactly one line.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from vedette.config.document import MAX_DEPTH, KeyPath, Problem, text_problem
from vedette.config.keys import fields_at, keys
from vedette.net.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails, ValidationError

_SECRET_NAME = re.compile(r"pass|secret|token|credential|pwd", re.IGNORECASE)
_LONGEST_SEEN = 60
_NUMBER_MAX = 1e18
_NAME = "[key]"
"""How pydantic calls the name of an entry that the user made."""
_NUMBER = re.compile(r"(?P<number>-?[0-9]+(?:[.,][0-9]+)?)\s*(?P<unit>%|(?![eE][-+]?\d)[A-Za-z°][\w°/]*)?")

_EXPECTED = {
    "model_type": "a section of keys and values",
    "dict_type": "keys and values",
    "tuple_type": "a list",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "1 to 63 characters of a-z, 0-9, _ and -, the first one a letter or a digit",
    "missing": "one more item in this list",
    "too_short": "more items in this list",
    "too_long": "fewer items in this list",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
}
_PREFIXES = ("Input should be ", "String should have ", "Value error, expected ", "Value error, ")


def is_secret(path: KeyPath) -> bool:
    """Whether a key, or one above it, is named for a secret. Then its value is never repeated."""
    return any(_SECRET_NAME.search(str(part)) for part in path)


def key_text(path: KeyPath) -> str:
    """Dotted name of a key: `camera.masks[0][1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}" for part in path).removeprefix(".")


def _one_line(part: str) -> str:
    return part if part and part.isprintable() else json.dumps(part)


def details_of(error: ValidationError) -> list[ErrorDetails]:
    """Return what pydantic found, without what only follows: an item that is wrong makes its list seem too short."""
    details = error.errors(include_url=False)
    return [detail for detail in details if detail["type"] != "too_short"
            or not any(_is_below(detail["loc"], each["loc"]) for each in details)]


def _is_below(path: KeyPath, other: KeyPath) -> bool:
    return len(other) > len(path) and other[:len(path)] == path


def problem_of(error: ErrorDetails) -> Problem:
    """Return the problem that pydantic reports, with our own message."""
    path: KeyPath = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        return Problem(path, unknown_key(path))
    if error["type"] == "missing" and isinstance(path[-1], str):
        return Problem(path, f"expected a value, since it has no default{_meaning(path)}")
    expected = (_EXPECTED.get(error["type"]) or _expected(error)) + _form(error)
    if path[-1:] == (_NAME,):
        path = path[:-1]
        expected = expected.replace("text that is", "a name that is").replace("at most", "a name of at most")
    return Problem(path, f"expected {expected}, saw {_seen(path, error)}{_meaning(path)}")


def _form(error: ErrorDetails) -> str:
    """Return how a text that holds a number would be a number; "" for another one."""
    number = _NUMBER.fullmatch(error["input"]) if isinstance(error["input"], str) else None
    if not number or error["type"] not in ("int_type", "float_type"):
        return ""
    if number["unit"] == "%":
        return f" without %, such as {float(number['number'].replace(',', '.')) / 100:g}"
    if number["unit"]:
        return f" without a unit, such as {number['number'].replace(',', '.')}"
    return " with a decimal point" if "," in number["number"] else " without quotes"


def unknown_key(path: KeyPath) -> str:
    """Return the message about an unknown key, with the key that may be meant."""
    above, name = path[:-1], str(path[-1])
    siblings = sorted(fields_at(above))
    elsewhere = sorted(key.name for key in keys() if key.path[-1] == name)
    if name.isdecimal():
        return "unknown key; a decimal number is written with a point"
    longer = [sibling for sibling in siblings if sibling.startswith(f"{name}_")]
    return "unknown key" + did_you_mean(name, siblings, [*longer, *elsewhere])


def did_you_mean(name: str, candidates: Iterable[str], otherwise: Iterable[str] = ()) -> str:
    """`; did you mean …?` with the closest candidate, else the first of `otherwise`, else nothing."""
    close = [*difflib.get_close_matches(name, list(candidates), 1), *otherwise]
    return f"; did you mean {close[0]}?" if close else ""


def value_problem(value: object, depth: int) -> str | None:
    """Return why a JSON value is none that a file could have, or None. `depth`: how deep it may be nested."""
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, int | float):
        return None if abs(value) < _NUMBER_MAX else "expected a plain decimal number"
    if not isinstance(value, dict | list):
        return None
    if not depth:
        return f"nested deeper than {MAX_DEPTH}"
    inside = (*value, *value.values()) if isinstance(value, dict) else value
    return next((problem for each in inside if (problem := value_problem(each, depth - 1))), None)


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
    """Return the meaning of a key or of an item's list, in parentheses: it says how to correct the value."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    field = fields_at(path[:-1]).get(str(path[-1])) if path else None
    return f" ({field.description.removesuffix('.')})" if field and field.description else ""
