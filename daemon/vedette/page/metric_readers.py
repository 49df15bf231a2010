"""How a metric is read from the messages of a device.

Invariants: a value that is null or missing gives no sample, never a 0; nothing is remembered from one call to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from vedette.serve.exposition import Sample

Messages = Mapping[str, Any]
"""Topic below the base -> newest JSON payload."""

_DECIMALS = 9
"""Hides what a change of the unit adds to a number."""


class Reader(Protocol):
    """Gives the samples of one metric, without the label `device`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels that its samples may have."""

    def read(self, messages: Messages) -> Iterator[Sample]:
        """Return the samples of one device."""


class Value:
    """The numbers at a path of topic and keys. Each `*` in it means every key, and its label has the key.

    A number is multiplied by `unit`; true and false are 1 and 0.
    """

    def __init__(self, path: str, *labels: str, unit: float = 1) -> None:
        self.labels = labels
        self._path = path.split(".")
        self._unit = unit

    def read(self, messages: Messages) -> Iterator[Sample]:
        """As in Reader."""
        for keys, found in walk(messages, self._path):
            if isinstance(found, int | float):
                yield Sample(dict(zip(self.labels, keys, strict=True)), self._in_unit(found))

    def _in_unit(self, number: float) -> float:
        return int(number) if self._unit == 1 and isinstance(number, int) else round(number * self._unit, _DECIMALS)


class States:
    """1 for each choice that the path has, alone or in a list, and 0 for the others."""

    def __init__(self, path: str, label: str, choices: Sequence[str]) -> None:
        self.labels = (label,)
        self._path = path.split(".")
        self._choices = choices

    def read(self, messages: Messages) -> Iterator[Sample]:
        """As in Reader. A choice that only the daemon knows is there while it is active."""
        for _, found in walk(messages, self._path):
            if found is not None:
                active = [found] if isinstance(found, str) else [_code(each) for each in found]
                for choice in dict.fromkeys((*self._choices, *active)):
                    yield Sample({self.labels[0]: choice}, int(choice in active))


class Facts:
    """One sample with the value 1. Its labels have what is at the paths."""

    def __init__(self, **paths: str) -> None:
        self.labels = tuple(paths)
        self._paths = {label: path.split(".") for label, path in paths.items()}

    def read(self, messages: Messages) -> Iterator[Sample]:
        """As in Reader."""
        found = {label: str(fact) for label, path in self._paths.items() for _, fact in walk(messages, path)
                 if fact is not None}
        if found:
            yield Sample(found, 1)


class Computed:
    """What a function makes of the messages."""

    def __init__(self, compute: Callable[[Messages], Iterator[Sample]], *labels: str) -> None:
        self.labels = labels
        self.read = compute


def walk(tree: object, path: Sequence[str], keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what the path leads to, with the keys that its `*` stand for. Nothing if a key is missing."""
    if not path:
        yield keys, tree
    elif isinstance(tree, Mapping):
        for key in tree if path[0] == "*" else {path[0]} & tree.keys():
            yield from walk(tree[key], path[1:], (*keys, key) if path[0] == "*" else keys)


def _code(entry: str | Mapping[str, str]) -> str:
    return entry if isinstance(entry, str) else str(entry["code"])
