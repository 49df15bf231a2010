"""Changes keys in the text of a configuration file, and leaves all else as it is: comments, order, style.

Invariants: a key that has the value already is not touched; the new text is read again, and has exactly the values that
were meant, else it is refused; a new value is in flow style on one line, but for zones and lines: a line for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vedette.config.changes import changed, differs, paths_in, value_in, with_sections
from vedette.config.document import Entry, entries, parse
from vedette.config.load import SWITCHES
from vedette.config.render import block, flow
from vedette.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.config.document import KeyPath

    Edit = tuple[int, int, str]     # from, to, and what stands there instead


def edited(text: str, changes: Mapping[str, Any]) -> str:
    """Return the text with the values of `changes`. The text must be valid YAML, with keys and values or nothing.

    Raises: ConfigError if the text is of a form in which keys cannot be changed one by one.
    """
    before = values_of(text)
    wanted = changed(before, changes)
    paths = [path for path in paths_in(changes) if differs(before, wanted, path)]
    edits = _Edits(text, wanted)
    for path in paths:
        edits.add(path)
    after = edits.applied()
    if parse(after, SWITCHES).problems or values_of(after) != wanted:
        names = ", ".join(".".join(path) for path in paths)
        raise ConfigError((f"{names}: cannot be changed in this form of file; expected one key on each line",))
    return after


def values_of(text: str) -> dict[str, Any]:
    """Return the values in the text of a file."""
    value = parse(text, SWITCHES).value
    return with_sections(value) if isinstance(value, dict) else {}


class _Edits:
    """The edits of one text, in any order."""

    def __init__(self, text: str, wanted: Mapping[str, Any]) -> None:
        self._text = text
        self._wanted = wanted
        self._entries: dict[KeyPath, Entry] = entries(text)
        self._edits: list[Edit] = []
        self._missing: dict[str, list[tuple[str, ...]]] = {}

    def add(self, path: tuple[str, ...]) -> None:
        """Give the key at this path its wanted value."""
        section = self._entries.get(path[:1])
        if path in self._entries:
            self._replace(path, self._entries[path])
        elif section is None:
            self._missing.setdefault(path[0], []).append(path)
        elif section.is_block or section.start == section.end:
            self._insert(path, section)
        else:
            self._replace(path[:1], section)

    def applied(self) -> str:
        """Return the new text."""
        column = next((entry.column for path, entry in self._entries.items() if len(path) == 1), 0)
        parts, at = [], 0
        for start, end, new in sorted(dict.fromkeys(self._edits), key=_start):
            parts += [self._text[at:start], new]
            at = end
        text = "".join(parts) + self._text[at:]
        for section, paths in self._missing.items():
            text += "" if not text or text.endswith("\n") else "\n"
            if paths[0] == (section,):
                text += f"{' ' * column}{self._entry(paths[0], column)}\n"
            else:
                inner = "".join(f"{' ' * (column + 2)}{self._entry(path, column + 2)}\n" for path in paths)
                text += f"{' ' * column}{section}:\n{inner}"
        return text

    def _entry(self, path: tuple[str, ...], column: int) -> str:
        return f"{block(path[-1])}:{self._value(path, column)}"

    def _value(self, path: tuple[str, ...], column: int, comment: str = "") -> str:
        """Return what stands behind the colon. `comment`: the rest of that line."""
        value = value_in(self._wanted, path)
        if len(path) > 1 or not isinstance(value, dict) or not value or path[0] not in _NAMED:
            return f" {block(value)}{comment}"
        lines = (f"\n{' ' * (column + 2)}{block(name)}: {flow(below)}" for name, below in value.items())
        return comment + "".join(lines)

    def _replace(self, path: tuple[str, ...], entry: Entry) -> None:
        line_end, stop = self._line_end(entry.colon), self._line_end(entry.end)
        comment = self._text[entry.end:stop] if entry.start <= line_end else self._text[entry.colon:line_end]
        self._edits.append((entry.colon, stop, self._value(path, entry.column, comment)))

    def _insert(self, path: tuple[str, ...], section: Entry) -> None:
        inside = (entry.column for each, entry in self._entries.items() if len(each) == 2 and each[0] == path[0])
        column = next(inside, section.column + 2)
        at = self._line_end(section.colon)
        self._edits.append((at, at, f"\n{' ' * column}{self._entry(path, column)}"))

    def _line_end(self, place: int) -> int:
        end = self._text.find("\n", place)
        return len(self._text) if end < 0 else end


_NAMED = ("zones", "lines")


def _start(edit: Edit) -> int:
    return edit[0]
