"""Reads the configuration: defaults, then the file, then `VEDETTE_…` variables, then flags. A later layer wins.

A signed configuration comes last, or below all of them but the defaults, as `update.configuration` says.

Invariants: the result is a complete valid `Config`, or one `ConfigError` with every problem; a problem is one line with
its place, its key, what was expected and what was given; no secret is read into a value or printed; the file must be a
regular file of bounded size, so reading it ends.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vedette.config.changes import changed, is_in, paths_in, value_in, with_sections
from vedette.config.document import KeyPath, Problem, parse, text_problem
from vedette.config.files import check_file, expanded, resolve, text_of
from vedette.config.keys import Key, keys
from vedette.config.models import Config
from vedette.config.problems import details_of, did_you_mean, key_text, problem_of, unknown_key
from vedette.config.signed import Signed, signed_of
from vedette.errors import ConfigError
from vedette.net.urls import has_password, has_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Check = Callable[[str], str | None]    # returns what is wrong with a value, or None

log = logging.getLogger(__name__)

_PREFIX = "VEDETTE_"
_NOT_OURS = {"VEDETTE_INSTANCE"}    # set by vedette@.service, read for the device's default name
SWITCHES: set[KeyPath] = {("events", "pictures")}     # on and off beside a list
_ADDRESSES = {("camera", "source"), ("mqtt", "host"), ("cloud", "url"), ("update", "source")}


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where a value was given. The order is that of the problems: file by line, variables, flags, what is signed."""

    layer: int
    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the place of every value that is not a default (by dotted key), and the warnings."""

    config: Config
    places: Mapping[str, Place] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def load_with(path: Path | None, overrides: Mapping[str, object], signed: Signed | None) -> Loaded:
    """Return the effective configuration with a signed one, and log its warnings. Raises: as `read`."""
    return _logged(read(path, overrides=overrides, signed=signed))


def load(path: Path | None, *, environ: Mapping[str, str] = os.environ,
         overrides: Mapping[str, object] = MappingProxyType({}), for_page: bool = False) -> Config:
    """Return the effective configuration and log its warnings. `overrides` has dotted keys.

    Raises: ConfigError with every problem.
    """
    return _logged(read(path, environ=environ, overrides=overrides, for_page=for_page)).config


def _logged(loaded: Loaded) -> Loaded:
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded


def read(path: Path | None, *, environ: Mapping[str, str] = os.environ,
         overrides: Mapping[str, object] = MappingProxyType({}), changes: Path | None = None,
         checks: Mapping[str, Check] = MappingProxyType({}), for_page: bool = False,
         elsewhere: bool = False, signed: Signed | None = None) -> Loaded:
    """Return the effective configuration with the place of each value. `checks`: more checks of texts, by dotted key.

    The daemon and the page are two users. Each may read only its own files, so only those are checked.
    `changes`: a second file, whose keys replace those of the first. Then only files that it names are checked.
    `elsewhere`: it is the configuration of another machine, so no file that it names is checked.
    `signed`: a signed configuration. It counts only beside `update.source`, and where all else is valid without it.
    Raises: ConfigError with every problem.
    """
    layers = _local_layers(path, environ, overrides, changes=changes, checks=checks, for_page=for_page,
                           elsewhere=elsewhere)
    local = layers.loaded()
    return local if signed is None else layers.with_signed(signed, local)


def read_running(path: Path | None, state_folder: Path, *, environ: Mapping[str, str] = os.environ,
                 overrides: Mapping[str, object] = MappingProxyType({}), changes: Path | None = None,
                 checks: Mapping[str, Check] = MappingProxyType({})) -> Loaded:
    """Return what a daemon with this state folder runs with: `read`, with the signed configuration that is kept there.

    One that cannot be used is left out, with a warning: the device must start all the same. Raises: as `read`.
    """
    layers = _local_layers(path, environ, overrides, changes=changes, checks=checks)
    local = layers.loaded()
    try:
        signed = signed_of(state_folder)
        return local if signed is None else layers.with_signed(signed, local)
    except ConfigError as error:
        warnings = (f"the signed configuration is left out: {problem}" for problem in error.problems)
        return replace(local, warnings=(*local.warnings, *warnings))


def _local_layers(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object], *,
                  changes: Path | None, checks: Mapping[str, Check], for_page: bool = False,
                  elsewhere: bool = False) -> _Layers:
    layers = _Layers(path.parent if path else Path(), elsewhere=elsewhere)
    if path is not None:
        layers.add_file(path)
    if changes is not None:
        layers.add_changes(changes)
    layers.add_variables(environ)
    layers.add_flags(overrides)
    layers.refuse_passwords_in_urls(layers.values, ())
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    layers.resolve_files(Path(credentials) if credentials else None, for_page=for_page)
    layers.check(checks)
    return layers


@dataclass
class _Layers:
    """The layers read so far: one tree of values, the place of each value, and every problem."""

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    reported: set[KeyPath] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    changes: str = ""
    """The name of the second file."""
    elsewhere: bool = False

    def add_file(self, path: Path) -> None:
        """Add the file as the first layer."""
        self.places[()] = Place(0, str(path))
        self.values, self.places = self._read(path)

    def add_changes(self, path: Path) -> None:
        """Add a second file. Each of its keys replaces one of the first, as in `changed`."""
        values, places = self._read(path)
        for at in paths_in(values):
            for before in [each for each in self.places if each[:len(at)] == at]:
                del self.places[before]
        self.values = changed(self.values, values)
        self.places |= {at: place for at, place in places.items() if at}
        self.changes = str(path)

    def with_signed(self, signed: Signed, local: Loaded) -> Loaded:
        """Return `local` with a signed configuration, as `update.configuration` says. Raises: as `loaded`."""
        update, place = local.config.update, Place(3, str(signed))
        for at in paths_in(signed.values) if update.source is not None else ():
            if update.configuration == "signed" or not is_in(self.values, at):
                self._set(at, value_in(signed.values, at), place)
        return self.loaded()

    def loaded(self) -> Loaded:
        """Return the configuration of all layers so far. Raises: ConfigError with every problem."""
        config = self.validate()
        if self.problems or config is None:
            raise ConfigError(tuple(dict.fromkeys(text for _, text in sorted(self.problems))))
        places = {key_text(at): place for at, place in self.places.items()}
        return Loaded(config, MappingProxyType(places), tuple(self.warnings))

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[KeyPath, Place]]:
        """Return what is in a file, and the place of each value. A section that has no value is one without keys."""
        place = Place(0, str(path))
        try:
            document = parse(text_of(path), SWITCHES)
        except ConfigError as error:
            self.problems += [(place, problem) for problem in error.problems]
            return {}, {(): place}
        for problem in document.problems:
            self._report(problem, Place(0, str(path), problem.line or 0))
        places = {(): place, **{at: Place(0, str(path), line) for at, line in document.lines.items()}}
        if isinstance(document.value, dict):
            return with_sections(document.value), places
        if document.value is not None:
            self._report(Problem((), "expected keys and values at the top level"), places[()])
        return {}, places

    def add_variables(self, environ: Mapping[str, str]) -> None:
        """Add variables such as `VEDETTE_CAMERA__FPS=15`; values are YAML."""
        known = {key.variable: key for key in keys()}
        for name in sorted(name for name in environ if name.startswith(_PREFIX) and name not in _NOT_OURS):
            place = Place(1, name)
            if name not in known:
                self._report(Problem((), "unknown variable" + did_you_mean(name, known)), place)
                continue
            document = parse(environ[name], {()} if known[name].path in SWITCHES else ())
            for problem in document.problems:
                self._report(Problem(known[name].path, problem.message), place)
            if not document.problems:
                self._set(known[name].path, document.value, place, below=document.lines)

    def add_flags(self, overrides: Mapping[str, object]) -> None:
        """Add dotted keys from the command line."""
        place = Place(2, "command line")
        known = {key.name: key for key in keys()}
        for name, value in overrides.items():
            path: KeyPath = tuple(name.split("."))
            plain = str(value) if isinstance(value, Path) else value
            problem = text_problem(plain) if isinstance(plain, str) else None
            if name not in known:
                self._report(Problem(path, unknown_key(path)), place)
            elif problem:
                self._report(Problem(path, problem), place)
            else:
                self._set(known[name].path, plain, place)

    def refuse_passwords_in_urls(self, value: object, at: KeyPath) -> None:
        """Report each password or other secret in a URL, at any depth. The secret is not repeated."""
        if isinstance(value, dict):
            for name, below in value.items():
                self.refuse_passwords_in_urls(below, (*at, name))
        elif isinstance(value, list):
            for index, below in enumerate(value):
                self.refuse_passwords_in_urls(below, (*at, index))
        elif isinstance(value, str) and has_password(value, is_address=at in _ADDRESSES):
            self._report(Problem(at, "a password inside a URL; put user:password in a file and name it in a *_file key "
                                     "(write an @ that belongs to no login as %40)"))
        elif isinstance(value, str) and has_secret(value, is_address=at in _ADDRESSES):
            self._report(Problem(at, "a secret inside an address; put it in a file and name that in a *_file key "
                                     "(in camera.source, write {user} and {password} in its place)"))

    def resolve_files(self, credentials: Path | None, *, for_page: bool) -> None:
        """Make every path absolute or relative to the working folder, expand `~`, and check each `*_file` of ours."""
        for key in keys():
            section, name = self._section(key.path), key.path[-1]
            if section is None or not isinstance(value := section.get(name), str):
                continue
            if key.is_path or key.path in _ADDRESSES:
                value = section[name] = expanded(value)
            if not key.is_path:
                continue
            folder = self.folder if self._place(key.path).layer == 0 else Path()
            if not name.endswith("_file"):
                section[name] = str(folder / value)
                continue
            path = resolve(value, folder, credentials)
            section[name] = str(path)
            folders = (credentials, folder) if credentials else (folder,)
            searched = () if Path(value).is_absolute() else tuple(each.absolute() for each in folders)
            if for_page == (key.path[0] == "page") and self._is_checked(key.path):
                self._check_file(key, path, searched)

    def check(self, checks: Mapping[str, Check]) -> None:
        """Apply the caller's checks to the texts that they are for."""
        for key in keys():
            value = (self._section(key.path) or {}).get(key.path[-1])
            if key.name in checks and isinstance(value, str) and self._is_checked(key.path) \
                    and (message := checks[key.name](value)):
                self._report(Problem(key.path, message))

    def validate(self) -> Config | None:
        """Check types and limits of the tree."""
        try:
            # As JSON, because strict JSON is all that a file can mean: a list may be a tuple, a text a path, no more.
            return Config.model_validate_json(json.dumps(self.values), strict=True)
        except ValidationError as error:
            for detail in details_of(error):
                problem = problem_of(detail)
                # A scalar that could not be read is null here, and its problem is reported already.
                if detail["input"] is not None or problem.path not in self.reported:
                    self._report(problem)
            return None

    def _is_checked(self, path: KeyPath) -> bool:
        """Whether the file that a key names is to be looked at."""
        return not self.elsewhere and (not self.changes or self._place(path).name == self.changes)

    def _check_file(self, key: Key, path: Path, searched: tuple[Path, ...]) -> None:
        checked = check_file(key.path[-1], path, searched)
        if checked.problem:
            self._report(Problem(key.path, checked.problem))
        if checked.warning:
            self.warnings.append(f"{self._place(key.path)}: {key.name}: {checked.warning}")

    def _set(self, path: KeyPath, value: object, place: Place, below: Iterable[KeyPath] = ()) -> None:
        for at in [at for at in self.places if at[:len(path)] == path]:
            del self.places[at]
        self.places |= {(*path, *at): place for at in (*below, ())}
        section = self._section(path, make=True)
        if section is not None:
            section[str(path[-1])] = value

    def _section(self, path: KeyPath, *, make: bool = False) -> dict[str, Any] | None:
        """Return the mapping that holds a key, or None if there is another value in its place."""
        section: Any = self.values
        for name in path[:-1]:
            if make and section.get(name) is None:
                section[name] = {}
            section = section.get(name)
            if not isinstance(section, dict):
                return None
        return section  # type: ignore[no-any-return]  # narrowed to dict by the loop

    def _place(self, path: KeyPath) -> Place:
        """Return the place of a key, or else of the section around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(2, "command line")

    def _report(self, problem: Problem, place: Place | None = None) -> None:
        place = place or self._place(problem.path)
        key = f"{key_text(problem.path)}: " if problem.path else ""
        self.problems.append((place, f"{place}: {key}{problem.message}"))
        self.reported.add(problem.path)
