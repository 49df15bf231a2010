"""The help texts: short lines, an explanation of every argument. tests/house/test_plain_english.py reads them."""

from __future__ import annotations

import argparse

import pytest

from vedette.cli import COMMANDS, main, parser_of


def arguments_of(command: str) -> list[argparse.Action]:
    parser, _ = parser_of(command)
    return parser._actions  # argparse has no other list of them


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_explained(command: str) -> None:
    """Each argument has a help text of its own."""
    assert [action.dest for action in arguments_of(command) if not action.help] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_lines_are_short(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal of 120 columns no line of the help is cut or broken."""
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 120] == []
