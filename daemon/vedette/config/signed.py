"""Which keys a signed configuration may have, whether one is valid, and which one this device has.

Invariants: a signed configuration is accepted as a whole or refused as a whole; a problem names its key, and never
repeats a text that may be a secret; no key names a file, admits a command, or makes pictures or clips leave a device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from vedette.config.changes import paths_in, value_in, with_sections
from vedette.config.document import MAX_DEPTH, Problem, parse
from vedette.config.files import text_of
from vedette.config.keys import keys, sections
from vedette.config.models import Config
from vedette.config.problems import details_of, is_secret, key_text, problem_of, unknown_key, value_problem
from vedette.errors import ConfigError
from vedette.net.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vedette.config.document import KeyPath

    Nested = Mapping[str, Any]

MAX_BYTES: Final = 256 * 1024
"""The largest signed configuration."""
FILE: Final = "configuration.json"
"""In the state folder: the signed configurations that this device keeps."""
_KEPT_BYTES = 16 * MAX_BYTES
_PROBLEMS_MAX = 20
_TEXT_MAX = 200
_LOCAL_SECTIONS = ("commands", "page", "collect")
_LOCAL_KEYS = ("events.pictures", "events.clips")


SIGNED: Final = tuple(
    key.name for key in keys() if len(key.path) <= 2 and key.applies == "live"
    and key.path[0] not in _LOCAL_SECTIONS and key.name not in _LOCAL_KEYS)
"""The keys that may be signed, dotted: the live ones, but those that decide who may command the device, and what is
kept of its pictures."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed configuration: its keys, nested as in the file, and its release."""

    values: Nested
    release: int
    version: str

    def __str__(self) -> str:
        return f"signed configuration {self.release}"


def parse_signed(content: bytes) -> dict[str, Any]:
    """Return the values of a signed file: UTF-8 JSON, at most MAX_BYTES. Raises: ConfigError with every problem."""
    if len(content) > MAX_BYTES:
        raise ConfigError((f"larger than {MAX_BYTES // 1024} kB",))
    try:
        values = json.loads(content.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ConfigError(("a key stands twice" if isinstance(error, _Duplicate) else "not valid JSON",)) from error
    if not isinstance(values, dict):
        raise ConfigError(("expected keys and values at the top level",))
    check_signed(values)
    return values


def check_signed(values: Nested) -> None:
    """Accept the values of a signed configuration.

    Raises: ConfigError with every problem, up to _PROBLEMS_MAX.
    """
    problems = problems_of(values)
    if problems:
        raise ConfigError(tuple(f"{name_of(each.path)}: {each.message}" for each in problems))


def problems_of(values: Nested) -> list[Problem]:
    """Return the problems of the values: keys that cannot be signed, possible secrets, wrong values."""
    problems: list[Problem] = []
    for path in paths_in(values):
        value = value_in(values, path)
        if problem := _refusal(path) or value_problem(value, MAX_DEPTH - len(path)):
            problems.append(Problem(path, problem))
        else:
            problems += _doubtful(value, path)
        if len(problems) >= _PROBLEMS_MAX:
            break       # a suggestion for each of many unknown keys would take long
    if problems:
        return problems[:_PROBLEMS_MAX]
    try:
        Config.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        return [problem_of(each) for each in details_of(error)[:_PROBLEMS_MAX]]
    return []


def read_for_signing(path: Path) -> dict[str, Any]:
    """Return the values of a file that is to be signed: YAML or JSON. Raises: ConfigError with every problem."""
    document = parse(text_of(path))
    values = with_sections(document.value) if isinstance(document.value, dict) else {}
    problems = list(document.problems)
    if not problems and not isinstance(document.value, dict | None):
        problems = [Problem((), "expected keys and values at the top level")]
    found = []
    for problem in problems or problems_of(values):
        above = (problem.path[:length] for length in range(len(problem.path), -1, -1))
        line = problem.line or next((document.lines[at] for at in above if at in document.lines), None)
        where = f"{path}:{line}" if line else str(path)
        found.append(f"{where}: {name_of(problem.path)}: {problem.message}" if problem.path
                     else f"{where}: {problem.message}")
    if found:
        raise ConfigError(tuple(found))
    return values


def name_of(path: KeyPath) -> str:
    """Return the dotted name of a key for a message. A name that may be a secret is not repeated."""
    return key_text(tuple(part if isinstance(part, int) else masked(part[:_TEXT_MAX]) for part in path))


def signed_of(state_folder: Path) -> Signed | None:
    """Return the signed configuration that this device runs with; None if it has none.

    Raises: ConfigError if its file cannot be read or is damaged, or if this version cannot use its values.
    """
    path = state_folder / FILE
    try:
        with path.open("rb") as file:
            content = file.read(_KEPT_BYTES)
        active = json.loads(content)["active"]
        found = None if active is None else Signed(active["values"], int(active["release"]), str(active["version"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ConfigError((f"{path}: is damaged",)) from error
    if found is not None:
        if not isinstance(found.values, dict):
            raise ConfigError((f"{path}: is damaged",))
        try:
            check_signed(found.values)
        except ConfigError as error:
            raise ConfigError(tuple(f"{found}: {problem}" for problem in error.problems)) from error
    return found


def _refusal(path: tuple[str, ...]) -> str | None:
    if ".".join(path) in SIGNED:
        return None
    if path[0] in sections() and len(path) == 1:
        return "expected keys and values"
    key = next((key for key in keys() if key.path == path), None)
    if key is None:
        return unknown_key(path)
    if key.is_path or is_secret(path):
        return "cannot be signed: a file or a secret belongs to one device alone"
    return "cannot be signed: this key belongs to each device's own configuration"


def _doubtful(value: object, at: KeyPath) -> Iterator[Problem]:
    """Yield a problem for each text, and each name, that is too long or would be masked where it is shown."""
    if isinstance(value, str):
        if len(value) > _TEXT_MAX:
            yield Problem(at, f"expected a text of at most {_TEXT_MAX} characters")
        elif masked(value) != value:
            yield Problem(at, "may be a secret; everybody can read a signed configuration")
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _doubtful(name, (*at, name))
            yield from _doubtful(below, (*at, name))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _doubtful(below, (*at, index))


class _Duplicate(ValueError):
    """A key stands twice in an object."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Duplicate
    return values
