"""Read the configuration: defaults, then the file, then `VEDETTE_…` variables, then flags; the later wins.

Invariants: either a whole valid `Config` comes back or one `ConfigError` with every problem found, each one line
with its place, key, what was expected and what was seen; no secret is read into a value or printed; the file is a
regular one of bounded size, so that reading it ends.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vedette.config.document import KeyPath, Problem, parse, text_problem
from vedette.config.files import examine, resolve
from vedette.config.keys import Key, keys, sections
from vedette.config.models import Config
from vedette.config.words import did_you_mean, key_text, problem_of, unknown_key
from vedette.errors import ConfigError
from vedette.net.urls import has_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Check = Callable[[str], str | None]    # says what is wrong with a value, if anything

log = logging.getLogger(__name__)

_MAX_BYTES = 256 * 1024
_PREFIX = "VEDETTE_"
_NOT_OURS = {"VEDETTE_INSTANCE"}    # set by vedette@.service, read for the device's default name
_ADDRESSES = {("camera", "source"), ("mqtt", "host"), ("cloud", "url"), ("update", "source")}


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where a value was given. Orders as problems are told: the file by line, then variables, then flags."""

    layer: int
    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the place of every value that is not a default, by dotted key, and what to warn of."""

    config: Config
    places: Mapping[str, Place]
    warnings: tuple[str, ...]


def load(path: Path | None, *, environ: Mapping[str, str] = os.environ,
         overrides: Mapping[str, object] = MappingProxyType({})) -> Config:
    """Return the effective configuration and log its warnings. `overrides` has dotted keys.

    Raises: ConfigError with every problem.
    """
    loaded = read(path, environ=environ, overrides=overrides)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.config


def read(path: Path | None, *, environ: Mapping[str, str] = os.environ,
         overrides: Mapping[str, object] = MappingProxyType({}),
         checks: Mapping[str, Check] = MappingProxyType({})) -> Loaded:
    """Return the effective configuration with the place of each value. `checks` look at texts, by dotted key.

    Raises: ConfigError with every problem.
    """
    layers = _Layers(path.parent if path else Path())
    if path is not None:
        layers.add_file(path)
    layers.add_variables(environ)
    layers.add_flags(overrides)
    layers.refuse_passwords_in_urls(layers.values, ())
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    layers.resolve_files(Path(credentials) if credentials else None)
    layers.check(checks)
    config = layers.validate()
    if layers.problems or config is None:
        raise ConfigError(tuple(dict.fromkeys(text for _, text in sorted(layers.problems))))
    places = {key_text(at): place for at, place in layers.places.items()}
    return Loaded(config, MappingProxyType(places), tuple(layers.warnings))


@dataclass
class _Layers:
    """What the layers have given so far: one tree of values, the place of each, and every problem."""

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    told: set[KeyPath] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def add_file(self, path: Path) -> None:
        """Take the file as the first layer."""
        place = Place(0, str(path))
        self.places[()] = place
        try:
            text = _text_of(path)
        except ConfigError as error:
            self.problems += [(place, problem) for problem in error.problems]
            return
        document = parse(text)
        self.places |= {at: Place(0, str(path), line) for at, line in document.lines.items()}
        for problem in document.problems:
            self._tell(problem, Place(0, str(path), problem.line or 0))
        if isinstance(document.value, dict):
            # A section whose keys are all commented out reads as null; it means its defaults.
            self.values = {name: {} if value is None and name in sections() else value
                           for name, value in document.value.items()}
        elif document.value is not None:
            self._tell(Problem((), "expected keys and values at the top level"))

    def add_variables(self, environ: Mapping[str, str]) -> None:
        """Take `VEDETTE_CAMERA__FPS=15` and the like; values are YAML."""
        known = {key.variable: key for key in keys()}
        for name in sorted(name for name in environ if name.startswith(_PREFIX) and name not in _NOT_OURS):
            place = Place(1, name)
            if name not in known:
                self._tell(Problem((), "unknown variable" + did_you_mean(name, known)), place)
                continue
            document = parse(environ[name])
            for problem in document.problems:
                self._tell(Problem(known[name].path, problem.words), place)
            if not document.problems:
                self._set(known[name].path, document.value, place, below=document.lines)

    def add_flags(self, overrides: Mapping[str, object]) -> None:
        """Take dotted keys given on the command line."""
        place = Place(2, "command line")
        known = {key.name: key for key in keys()}
        for name, value in overrides.items():
            path: KeyPath = tuple(name.split("."))
            plain = str(value) if isinstance(value, Path) else value
            problem = text_problem(plain) if isinstance(plain, str) else None
            if name not in known:
                self._tell(Problem(path, unknown_key(path)), place)
            elif problem:
                self._tell(Problem(path, problem), place)
            else:
                self._set(known[name].path, plain, place)

    def refuse_passwords_in_urls(self, value: object, at: KeyPath) -> None:
        """Find passwords in URLs anywhere; the password is not repeated."""
        if isinstance(value, dict):
            for name, below in value.items():
                self.refuse_passwords_in_urls(below, (*at, name))
        elif isinstance(value, list):
            for index, below in enumerate(value):
                self.refuse_passwords_in_urls(below, (*at, index))
        elif isinstance(value, str) and has_password(value, is_address=at in _ADDRESSES):
            self._tell(Problem(at, "a password inside a URL; put user:password in a file and name it in a *_file key "
                                   "(an @ that is none of a login is written %40)"))

    def resolve_files(self, credentials: Path | None) -> None:
        """Make every path absolute or relative to the working folder, and look at every `*_file`."""
        for key in keys():
            section, name = self._section(key.path), key.path[-1]
            value = section.get(name) if section is not None else None
            if not key.is_path or not isinstance(value, str):
                continue
            folder = self.folder if self._place(key.path).layer == 0 else Path()
            assert section is not None  # noqa: S101 - for the type checker: a value was found in it
            if not name.endswith("_file"):
                section[name] = str(folder / value)
                continue
            path = resolve(value, folder, credentials)
            section[name] = str(path)
            folders = (credentials, folder) if credentials else (folder,)
            self._examine(key, path, () if Path(value).is_absolute() else tuple(each.absolute() for each in folders))

    def check(self, checks: Mapping[str, Check]) -> None:
        """Ask about texts that only their user can judge."""
        for key in keys():
            value = (self._section(key.path) or {}).get(key.path[-1])
            if key.name in checks and isinstance(value, str) and (words := checks[key.name](value)):
                self._tell(Problem(key.path, words))

    def validate(self) -> Config | None:
        """Check types and limits of the tree."""
        try:
            # As JSON, because strict JSON is what a file can mean: lists may be tuples, text may be a path, no more.
            return Config.model_validate_json(json.dumps(self.values), strict=True)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                problem = problem_of(detail)
                # A scalar that could not be read stands as null; its problem has been told already.
                if detail["input"] is not None or problem.path not in self.told:
                    self._tell(problem)
            return None

    def _examine(self, key: Key, path: Path, looked_in: tuple[Path, ...]) -> None:
        verdict = examine(key.path[-1], path, looked_in)
        if verdict.problem:
            self._tell(Problem(key.path, verdict.problem))
        if verdict.warning:
            self.warnings.append(f"{self._place(key.path)}: {key.name}: {verdict.warning}")

    def _set(self, path: KeyPath, value: object, place: Place, below: Iterable[KeyPath] = ()) -> None:
        for at in [at for at in self.places if at[:len(path)] == path]:
            del self.places[at]
        self.places |= {(*path, *at): place for at in (*below, ())}
        section = self._section(path, make=True)
        if section is not None:
            section[str(path[-1])] = value

    def _section(self, path: KeyPath, *, make: bool = False) -> dict[str, Any] | None:
        """Return the mapping that holds a key, or None where something else stands in its place."""
        section: Any = self.values
        for name in path[:-1]:
            if make and section.get(name) is None:
                section[name] = {}
            section = section.get(name)
            if not isinstance(section, dict):
                return None
        return section  # type: ignore[no-any-return]  # narrowed to dict by the loop

    def _place(self, path: KeyPath) -> Place:
        """Return the place of a key, else of what it stands in."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(2, "command line")

    def _tell(self, problem: Problem, place: Place | None = None) -> None:
        place = place or self._place(problem.path)
        key = f"{key_text(problem.path)}: " if problem.path else ""
        self.problems.append((place, f"{place}: {key}{problem.words}"))
        self.told.add(problem.path)


def _text_of(path: Path) -> str:
    """Raises: ConfigError saying why the file is no text."""
    try:
        if path.is_dir():
            raise ConfigError((f"{path}: is a directory; expected a file",))
        if path.exists() and not path.is_file():
            raise ConfigError((f"{path}: is no regular file",))
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    if len(content) > _MAX_BYTES:
        raise ConfigError((f"{path}: larger than {_MAX_BYTES // 1024} kB",))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise ConfigError((f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})",)) from error
