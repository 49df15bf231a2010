"""Values of one configuration file that replace those of another.

Invariants: pure; a key in a section replaces that key alone; any other value, such as `zones`, is replaced as a whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vedette.config.keys import mappings, sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def paths_in(values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of each key: `detector.allow`, `zones`. A section that is none is a key itself."""
    for name, value in values.items():
        if name in sections() and isinstance(value, dict):
            yield from ((name, below) for below in value)
        else:
            yield (name,)


def value_in(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at a path; None where there is none."""
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def is_in(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Return whether there is a value at a path, which may be null."""
    above = value_in(values, path[:-1])
    return isinstance(above, dict) and path[-1] in above


def differs(before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Return whether a key of `after` is new or has another value. The order of its names counts, 1 and true differ."""
    return not is_in(before, path) or json.dumps(value_in(before, path)) != json.dumps(value_in(after, path))


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with each key of `changes` in place of their own."""
    merged = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for path in paths_in(changes):
        section = merged if len(path) == 1 else merged.setdefault(path[0], {})
        if isinstance(section, dict):
            section[path[-1]] = value_in(changes, path)
    return merged


def with_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a file. A section whose keys are all commented out is read as null, and has no keys."""
    return {name: {} if value is None and name in mappings() else value for name, value in values.items()}
