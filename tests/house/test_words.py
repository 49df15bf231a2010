"""Names and sentences of the code: the field's words, no nested conditional expressions, no endless first sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2] / "daemon" / "vedette"
FOREIGN_NAMES = re.compile(r"_*(look(s|ed)?|tell(s)?|told|hear(s|d)?|heed(s)?|mend(s|ed)?|words|judged)(_\w+)?$")
"""Names of functions for which the field has another word, such as publish, report, detect or retry."""
WORDS_MAX = 30


def faults(source: str) -> Iterator[str]:
    """Find what these rules forbid in the source of a module: one line for each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and FOREIGN_NAMES.match(node.name):
            yield f"line {node.lineno}: function {node.name}: use the field's word"
        if isinstance(node, ast.IfExp) and any(isinstance(each, ast.IfExp)
                                               for part in (node.body, node.orelse) for each in ast.walk(part)):
            yield f"line {node.lineno}: a nested conditional expression"
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            longest = max((len(sentence.split()) for sentence in re.split(r"[.;:!?]\s", first)), default=0)
            if longest > WORDS_MAX:
                yield f"line {getattr(node, 'lineno', 1)}: a docstring with a sentence of {longest} words"


def test_the_package_uses_the_words_of_the_field() -> None:
    """No module has a function name of our own making, a nested conditional expression or an endless sentence."""
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in sorted(ROOT.rglob("*.py"))
             for fault in faults(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("planted", "fault"), [
    ("def look() -> None: ...", "function look"),
    ("class Part:\n    def _told_by(self) -> None: ...", "function _told_by"),
    ("x = 1 if a else 2 if b else 3", "nested conditional"),
    ("x = (1 if a else 2) if b else 3", "nested conditional"),
    (f'"""{"word " * (WORDS_MAX + 1)}."""', "a sentence of"),
])
def test_a_planted_fault_is_found(planted: str, fault: str) -> None:
    """Each rule finds an example of what it forbids."""
    assert any(fault in each for each in faults(planted))


@pytest.mark.parametrize("clean", ["def lookup() -> None: ...", "x = 1 if a else 2", "x = 1 if (2 if a else b) else 3"])
def test_similar_code_is_accepted(clean: str) -> None:
    """A name that only begins alike, a single condition, and a condition that is itself conditional are accepted."""
    assert list(faults(clean)) == []
