"""Every case has tests that build its input themselves, and a case that nobody knows is no success."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.campaign import cases

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", cases.CASES)
def test_the_named_tests_exist(number: str) -> None:
    """Each is a function of its module."""
    assert cases.CASES[number].tests
    for name in cases.CASES[number].tests:
        module, _, function = name.partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / module).read_text(), re.MULTILINE), name


@pytest.mark.skipif(not cases.DEFAULT.is_dir(), reason="the cases are not there")
def test_every_case_that_is_there_is_known() -> None:
    """Each folder has its number in the table."""
    assert [path.name for path in cases.DEFAULT.iterdir() if path.is_dir()
            and path.name.partition("-")[0] not in cases.CASES] == []


@pytest.mark.parametrize(("folder", "code"), [("99-nobody-knows", 1), (None, 0)])
def test_an_unknown_case_fails_and_no_case_is_said(tmp_path: Path, folder: str | None, code: int,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1 for a folder that is not in the table; without any folder it is 0, and a line says so."""
    if folder is not None:
        (tmp_path / "cases" / folder).mkdir(parents=True)
    assert cases.main(["--cases", str(tmp_path / "cases"), "--state", str(tmp_path / "state.json")]) == code
    figures = json.loads(capsys.readouterr().out)
    assert figures.get("wrong") == [folder] if folder else "no cases" in figures["skipped"]
