"""Every configuration key as a flat list, made from the models.

Invariants: the models are the only source; a section inside another (`mqtt.tls`) is itself a key, besides the keys
in it; the order is that of the models; permitted values come from the types alone.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from vedette.config.models import Config
from vedette.config.section import Section


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path, and its field in the models."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """The dotted name, as in messages: `camera.fps`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it: `VEDETTE_CAMERA__FPS`."""
        return "VEDETTE_" + "__".join(self.path).upper()

    @property
    def meaning(self) -> str:
        """What the key means, in sentences."""
        return self.field.description or ""

    @property
    def choices(self) -> tuple[Any, ...]:
        """The permitted values, where the type lists them. For a list they are those of each item."""
        listed = (member for member in (*_members(self.field.annotation), *self._item_types)
                  if typing.get_origin(member) is typing.Literal)
        return typing.get_args(next(listed, None))

    @property
    def is_list(self) -> bool:
        """Whether the value is a list of any length."""
        return bool(self._item_types)

    @property
    def applies(self) -> str:
        """When a changed value applies: `live` (after a reload) or `restart`."""
        extra = self.field.json_schema_extra
        return str(extra["applies"]) if isinstance(extra, dict) else "restart"

    @property
    def is_path(self) -> bool:
        """Whether the value names a file."""
        return Path in _members(self.field.annotation)

    @property
    def _item_types(self) -> tuple[Any, ...]:
        lists = (typing.get_args(member) for member in _members(self.field.annotation)
                 if typing.get_origin(member) is tuple)
        return tuple(arguments[0] for arguments in lists if arguments[1:] == (...,))


@cache
def keys() -> tuple[Key, ...]:
    """All keys, in the order of the models."""
    return tuple(_walk(Config, ()))


@cache
def sections() -> dict[str, type[Section]]:
    """Return the sections at the top, which cannot be null."""
    return {name: section for name, field in Config.model_fields.items() if (section := _section(field))}


@cache
def mappings() -> frozenset[str]:
    """Return the names at the top whose value is keys and values, and cannot be null."""
    return frozenset(name for name, value in Config() if isinstance(value, Section | dict))


def fields_at(path: tuple[str | int, ...]) -> dict[str, FieldInfo]:
    """Return the keys in a section with their fields. The path may have names of the user's own, as in `zones.drive`.

    There are none where no section is.
    """
    section: type[Section] | None = Config
    names = iter(path)
    for name in names:
        field = _fields(section).get(str(name))
        section = _section(field) if field else None
        if field and section is None and next(names, None) is not None:
            section = _named_section(field)
    return _fields(section)


def value_at(config: Config, path: tuple[str, ...]) -> Any:
    """Return the value of a key. Below a section that is null it is None."""
    value: Any = config
    for name in path:
        value = getattr(value, name, None)
    return value


def _walk(model: type[Section], above: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        section = _section(field)
        if section is None or above or field.default is None:
            yield Key(path, field)
        if section is not None:
            yield from _walk(section, path)


def _section(field: FieldInfo) -> type[Section] | None:
    return next((member for member in _members(field.annotation)
                 if isinstance(member, type) and issubclass(member, Section)), None)


def _fields(section: type[Section] | None) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()} if section else {}


def _named_section(field: FieldInfo) -> type[Section] | None:
    """Return the section that each value of a mapping is."""
    value = typing.get_args(field.annotation)[-1] if typing.get_origin(field.annotation) is dict else None
    section = typing.get_args(value)[0] if typing.get_origin(value) is typing.Annotated else value
    return section if isinstance(section, type) and issubclass(section, Section) else None


def _members(annotation: Any) -> tuple[Any, ...]:
    """Members of a union, or the type itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)
