"""Reads one YAML text into plain values, with the line of each value and every problem in the text.

Invariants: no other file imports YAML; values are None, bool, int, float, str, list and dict with string keys, nothing
else; any text gives a `Document`, never an exception; depth is bounded and aliases are refused, so a small text cannot
become a large value.
A problem never repeats the text that it is about, because that may be a secret; it has the line and the key.
A scalar that YAML 1.1 silently turns into something else (yes, on, 010, 1:30, .inf) is a problem, not a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

import yaml

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 12
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + "str", _TAG + "timestamp", _TAG + "value", _TAG + "merge"}
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_PLAIN_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_TOKEN = re.compile(r".(?:.|<[a-z ]+>|\\.)?.")
"""What PyYAML may repeat in its message: one character, or the name of a token. Other text may be a secret."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_NOT_TEXT = re.compile(r"[\ud800-\udfff]")
"""What Python makes of bytes that are not UTF-8, in an argument or a file name."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: its key, its message, and its line if no key has one."""

    path: KeyPath
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a text. `lines` counts from 1. Values that have a problem are missing in `value`."""

    value: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse(text: str, switches: Container[KeyPath] = ()) -> Document:
    """Read a text. If it has a syntax error, that is the only problem, with its line.

    `switches`: the keys at which `on` and `off` are meant as true and false.
    """
    document = Document()
    try:
        node = _Loader(text).get_single_node()
    except _Refused as refused:
        document.problems.append(refused.problem)
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = _without_text(error.problem or "").replace("character '\\t' that", "a tab, which")
        document.problems.append(Problem((), f"not valid YAML: {message}", mark.line + 1 if mark else None))
        return document
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets exceptions of int() and chr() pass, which it calls for escapes and directives.
        document.problems.append(Problem((), f"not valid YAML: {_without_text(' '.join(str(error).split()))}"))
        return document
    if node is None:
        return document
    return Document(_Reading(document, switches)(node, ()), document.lines, document.problems)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key in block style with its value. The places count the characters of the text from 0.

    `colon` is the place behind the colon. The value is from `start` to `end`, without comments behind it; it is empty
    where there is none. `is_block`: the value is a mapping in block style.
    """

    column: int
    colon: int
    start: int
    end: int
    is_block: bool


def entries(text: str) -> dict[KeyPath, Entry]:
    """Return the keys at the top, and those of each mapping in them, as far as they are in block style.

    The text must be one that `parse` finds no problem in.
    """
    node = _Loader(text).get_single_node()
    found = dict(_entries(text, node, ()))
    for path, value in list(_block_items(node, ())):
        found |= _entries(text, value, path)
    return found


def _block_items(node: yaml.Node | None, above: KeyPath) -> Iterator[tuple[KeyPath, yaml.Node]]:
    if _is_block(node):
        for key, value in node.value:
            yield (*above, key.value), value


def _entries(text: str, node: yaml.Node | None, above: KeyPath) -> Iterator[tuple[KeyPath, Entry]]:
    if _is_block(node):
        for key, value in node.value:
            colon = text.index(":", key.end_mark.index) + 1
            yield (*above, key.value), Entry(key.start_mark.column, colon, max(colon, value.start_mark.index),
                                             max(colon, len(text[:_end(value)].rstrip("\r\n"))), _is_block(value))


def _is_block(node: yaml.Node | None) -> TypeGuard[yaml.MappingNode]:
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def _end(node: yaml.Node) -> int:
    """Return where the last character of a value is. A node in block style itself ends after the comments behind it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def text_problem(text: str) -> str | None:
    """Return why a text cannot be a value, or None."""
    if _NOT_TEXT.search(text):
        return "expected text in UTF-8"
    return "expected one line without control characters" if _CONTROL.search(text) else None


def _without_text(message: str) -> str:
    return _QUOTED.sub(lambda quoted: quoted[0] if _TOKEN.fullmatch(quoted[0]) else "…", message)


class _Refused(Exception):
    """The YAML is valid, but it goes beyond what we accept."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.problem = Problem((), message, line)


class _Loader(yaml.SafeLoader):
    """Composes nodes of bounded depth, without aliases."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("aliases (*name) are not supported", line)
        if self.depth >= MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH}", line)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _NotPlain(Exception):
    """YAML reads this scalar as something that its author hardly meant."""


class _Reading:
    """Turns nodes into values, and adds lines and problems to the document."""

    def __init__(self, document: Document, switches: Container[KeyPath]) -> None:
        self._switches = switches
        self._lines = document.lines
        self._problems = document.problems

    def __call__(self, node: yaml.Node, path: KeyPath) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node, is_switch=path in self._switches)
        except _NotPlain as trap:
            self._problem(node, path, str(trap))
            return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or _CONTROL.search(key):
                self._problem(key_node, path, "a key must be one line of text")
                continue
            below = (*path, key)
            if key in values:
                self._problem(key_node, below, f"duplicate key; first on line {self._lines[below]}")
                continue
            self._lines[below] = key_node.start_mark.line + 1
            values[key] = self(value_node, below)
        return values

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._problems.append(Problem(path, message, node.start_mark.line + 1))


def _scalar(node: yaml.Node, *, is_switch: bool) -> object:
    """Return the value of a scalar. Raises: _NotPlain for one that is not plain."""
    text = node.value
    if not isinstance(text, str):
        raise _NotPlain("a tag (!name) is not supported; quote text that begins with !")
    if node.tag == _TAG + "null":
        return None
    if node.tag == _TAG + "bool":
        return _boolean(text, is_switch=is_switch)
    if node.tag in (_TAG + "int", _TAG + "float"):
        return _number(text)
    if node.tag in _TEXT_TAGS:
        if problem := text_problem(text):
            raise _NotPlain(problem)
        return text
    raise _NotPlain("a tag (!name) is not supported; quote text that begins with !")


def _boolean(text: str, *, is_switch: bool) -> bool:
    if is_switch and text.lower() in ("on", "off"):
        return text.lower() == "on"
    if text.lower() not in ("true", "false"):
        raise _NotPlain(f"YAML reads {text} as a boolean; write true or false, or quote it if text is meant")
    return text.lower() == "true"


def _number(text: str) -> int | float:
    if _PLAIN_INT.fullmatch(text):
        return int(text)
    if _PLAIN_FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise _NotPlain("YAML reads this as a number in a special form (octal, base 60, infinite, …); "
                    "write a plain decimal number, or quote it if text is meant")
