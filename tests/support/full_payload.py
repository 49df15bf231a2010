"""A message with everything that its shape allows, made from the shape."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import JsonValue, TypeAdapter
from typing_extensions import is_typeddict

from vedette.messages import topics
from vedette.messages.event_shapes import ZonesPayload
from vedette.messages.health_shapes import HealthPayload
from vedette.messages.shapes import CountsPayload, InfoPayload, ModelPayload

Path = tuple[str | int, ...]
NAMES = ("person", 'a "b"\\\n{c}')
"""The keys of every mapping from names: a plain one, and one that a text format must escape."""
SHAPES: dict[str, Any] = {topics.HEALTH: HealthPayload, topics.INFO: InfoPayload, topics.MODEL: ModelPayload,
                          topics.COUNTS: CountsPayload, topics.ZONES: ZonesPayload}


def everything() -> dict[str, Any]:
    """Return the full message of each of SHAPES, by its topic."""
    messages = {topic: full(shape) for topic, shape in SHAPES.items()}
    messages[topics.HEALTH]["at"] = "2026-11-30T08:02:21.333Z"
    for topic, shape in SHAPES.items():
        TypeAdapter(shape).validate_python(messages[topic])
    return messages


def full(shape: Any) -> Any:
    """Return a value of a TypedDict's shape: no null, no key left out, and no number twice.

    A list of numbers has ten entries, as a histogram needs, and another list has one.
    """
    return _full(shape, count(1))


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the value of each number, text and truth value."""
    if isinstance(tree, Mapping | list):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from leaves(value, (*path, key))
    else:
        yield path, tree


def nullable(shape: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each value that may be null, as it is in the full value."""
    if type(None) in get_args(shape):
        yield path
        shape = _present(shape)
    if is_typeddict(shape):
        for key, kind in get_type_hints(shape).items():
            yield from nullable(kind, (*path, key))
    elif get_origin(shape) is dict:
        for name in NAMES:
            yield from nullable(get_args(shape)[1], (*path, name))


def replaced(tree: Any, path: Path, value: Any) -> Any:
    """Return the tree with another value at a path."""
    if not path:
        return value
    if isinstance(tree, list):
        return [replaced(entry, path[1:], value) if index == path[0] else entry for index, entry in enumerate(tree)]
    return {**tree, path[0]: replaced(tree[path[0]], path[1:], value)}


def _full(shape: Any, numbers: "count[int]") -> Any:
    shape = _present(shape)
    origin, inner = get_origin(shape), get_args(shape)
    if is_typeddict(shape):
        return {key: _full(kind, numbers) for key, kind in get_type_hints(shape).items()}
    if origin is dict:
        return {name: _full(inner[1], numbers) for name in NAMES}
    if origin is list:
        return [_full(inner[0], numbers) for _ in range(10 if inner[0] is int else 1)]
    if origin is Literal:
        return inner[0]
    number = next(numbers)
    return {bool: True, int: number, float: number / 1024, str: f"text {number}", JsonValue: f"text {number}"}[shape]


def _present(shape: Any) -> Any:
    """Return what the shape is when it is not null."""
    kinds = [kind for kind in get_args(shape) if kind is not type(None)]
    return kinds[0] if type(None) in get_args(shape) else shape
