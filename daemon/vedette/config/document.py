"""Read one YAML text into plain values, with the line of each value and every problem in the text.

Invariants: the only file that imports YAML; values are None, bool, int, float, str, list and dict with string keys,
nothing else; any text at all gives a `Document`, never an exception; depth is bounded and aliases are refused, so
that a small text cannot become a large value.
No problem repeats what it found, since that may be a secret; its line and key tell where it stands.
What YAML 1.1 silently turns into something else (yes, on, 010, 1:30, .inf) is a problem, not a value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import yaml

KeyPath = tuple[str | int, ...]

_MAX_DEPTH = 12
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + "str", _TAG + "timestamp", _TAG + "value", _TAG + "merge"}
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_PLAIN_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_QUOTED = re.compile(r"'[^'<\\]{2,}'|\"[^\"<\\]{2,}\"")
"""What PyYAML repeats of the text, single characters apart."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: at which key, in words, and on which line where no key can tell."""

    path: KeyPath
    words: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds. `lines` counts from 1; where there are problems, `value` lacks what they name."""

    value: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse(text: str) -> Document:
    """Read a text; a syntax error is its only problem then, with its line."""
    document = Document()
    try:
        node = _Loader(text).get_single_node()
    except _Refused as refused:
        document.problems.append(refused.problem)
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = _QUOTED.sub("…", error.problem or "")
        document.problems.append(Problem((), f"not valid YAML: {words}", mark.line + 1 if mark else None))
        return document
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets int() and chr() of an escape or a directive escape as they are.
        document.problems.append(Problem((), f"not valid YAML: {_QUOTED.sub('…', ' '.join(str(error).split()))}"))
        return document
    if node is None:
        return document
    return Document(_Reading(document)(node, ()), document.lines, document.problems)


def text_problem(text: str) -> str | None:
    """Say why a text cannot be a value, or None."""
    return "expected one line without control characters" if _CONTROL.search(text) else None


class _Refused(Exception):
    """YAML that is valid and too much for us."""

    def __init__(self, words: str, line: int) -> None:
        super().__init__(words)
        self.problem = Problem((), words, line)


class _Loader(yaml.SafeLoader):
    """Composes nodes of bounded depth, without aliases."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("aliases (*name) are not supported", line)
        if self.depth >= _MAX_DEPTH:
            raise _Refused(f"nested deeper than {_MAX_DEPTH}", line)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _NotPlain(Exception):
    """A scalar that YAML reads as something its author hardly meant."""


class _Reading:
    """Turns nodes into values, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self._lines = document.lines
        self._problems = document.problems

    def __call__(self, node: yaml.Node, path: KeyPath) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node)
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

    def _problem(self, node: yaml.Node, path: KeyPath, words: str) -> None:
        self._problems.append(Problem(path, words, node.start_mark.line + 1))


def _scalar(node: yaml.Node) -> object:
    """Raises: _NotPlain for what is no plain scalar."""
    text = node.value
    if not isinstance(text, str):
        raise _NotPlain("a tag (!name) is not supported; quote text that begins with !")
    if node.tag == _TAG + "null":
        return None
    if node.tag == _TAG + "bool":
        return _boolean(text)
    if node.tag in (_TAG + "int", _TAG + "float"):
        return _number(text)
    if node.tag in _TEXT_TAGS:
        if problem := text_problem(text):
            raise _NotPlain(problem)
        return text
    raise _NotPlain("a tag (!name) is not supported; quote text that begins with !")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _NotPlain(f"YAML reads {text} as a boolean; write true or false, or quote it if text is meant")
    return text.lower() == "true"


def _number(text: str) -> int | float:
    if _PLAIN_INT.fullmatch(text):
        return int(text)
    if _PLAIN_FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise _NotPlain("YAML reads this as a number in a form of its own (octal, base 60, infinite, …); "
                    "write a plain decimal number, or quote it if text is meant")
