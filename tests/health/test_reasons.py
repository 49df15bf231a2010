"""The table of health reasons and its document."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.support.plain_english import long_sentences
from vedette.health.reasons import REASONS, document, state_of
from vedette.types import ReasonCode

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reasons.md"


def test_document_matches_the_table() -> None:
    """docs/reasons.md has the content of the table; `make docs` writes it."""
    assert DOCUMENT.read_text("utf-8") == document()


def test_module_prints_the_document() -> None:
    """`python -m vedette.health.reasons` prints the document."""
    printed = subprocess.run([sys.executable, "-m", "vedette.health.reasons"], capture_output=True, text=True,
                             check=True, timeout=240)
    assert printed.stdout == document()


@pytest.mark.parametrize(("codes", "state"), [
    ((), "ok"),
    (("clock_unsynced",), "degraded"),
    (("paused", "hot"), "degraded"),
    (("hot", "camera_stalled", "paused"), "failed"),
])
def test_the_worst_reason_decides(codes: tuple[ReasonCode, ...], state: str) -> None:
    """No reason is ok; one failed among degraded ones is failed."""
    assert state_of(codes) == state


def test_every_code_has_a_row() -> None:
    """A code without a row cannot get into health: the type checker and this test refuse it."""
    assert set(REASONS) == set(get_args(ReasonCode))


def test_rows_are_complete() -> None:
    """Every code is lower case, and every row has sentences for its meaning and its remedy."""
    for code, reason in REASONS.items():
        assert code == reason.code == code.lower()
        assert reason.state in ("ok", "degraded", "failed")
        assert reason.meaning.endswith(".")
        assert reason.remedy.endswith(".")
        assert long_sentences(f"{reason.meaning} {reason.remedy}") == []


def test_the_document_can_be_searched_and_wraps() -> None:
    """Each code is a heading; no line is longer than 120 columns."""
    lines = document().splitlines()
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == list(REASONS)
    assert [line for line in lines if len(line) > 120] == []


def test_every_code_is_used() -> None:
    """A row whose code appears in no module is a leftover."""
    expected = {node.value for path in (ROOT / "daemon").rglob("*.py") if path.name != "reasons.py"
             for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)}
    assert set(REASONS) - expected == set()
