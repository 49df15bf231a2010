"""`vedette model list` as people and programs call it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon.as_nobody import as_nobody
from vedette.cli import main
from vedette.device.identity import StateFolder
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed, Offer, StoreState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STATE = (
    StoreState().activated(Installed(sha256="a" * 64, size=1000, name="street", version="1"), NOW).marked_good(NOW)
    .staged(Installed(sha256="c" * 64, size=7, name="bad\x1b[2J", version="9", release=9))
    .dropped_candidate("golden frames differ", NOW)
    .activated(Installed(sha256="b" * 64, size=2_000_000, name="street", version="2", release=7, variant="B"), NOW)
    .started("boot").with_evidence(120, 90).offered(Offer(name="street", version="3", release=8)))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    store = ModelStore(tmp_path / "models")
    store.recover()
    store.change(STATE)
    return tmp_path


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_text_shows_each_model_and_its_reason(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Active with its trial, previous, latest, outcome and refusals; also while a daemon holds the lock."""
    daemon = StateFolder(kept)
    before = files(kept)
    assert main(["model", "list", "--state", str(kept)]) == 0
    daemon.close()
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "active     bbbbbbbbbbbb  street 2  release 7, variant B  2,000,000 bytes",
        "  on trial since 2026-11-21 12:00 UTC: 120 frames in 1.5 minutes, starts: 1, crashes: 0",
        "previous   aaaaaaaaaaaa  street 1  no release  1,000 bytes",
        "candidate  -",
        "latest     street 3, release 8",
        "outcome    bad?[2J: golden frames differ",
        "refused    cccccccccccc on 2026-11-21: golden frames differ"]
    assert printed.err == ""
    assert files(kept) == before


def test_json_is_one_object(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same facts under the state's own names."""
    assert main(["model", "list", "--json", "--state", str(kept)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["active"]["release"] == 7
    assert printed["trial"]["frames"] == 120
    assert [one["why"] for one in printed["refused"]] == ["golden frames differ"]
    assert (printed["held"], printed["trouble"]) == (None, None)


def test_a_missing_store_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command does not create it."""
    assert main(["model", "list", "--state", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out.splitlines() == ["active     -", "previous   -", "candidate  -"]
    assert not (tmp_path / "none").exists()


def test_a_corrupt_state_is_reported_with_the_copy(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is shown; the state folder is left as it is."""
    (kept / "models" / "state.json").write_bytes(b"{")
    before = files(kept)
    assert main(["model", "list", "--state", str(kept)]) == 0
    printed = capsys.readouterr()
    assert "bbbbbbbbbbbb" in printed.out
    assert "state.json: cannot be parsed" in printed.err
    assert files(kept) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_needs_rights_to_read(kept: Path) -> None:
    """With rights to read it works; without, one line names the user who may, and the exit code is 69."""
    for path in (kept / "models").rglob("*"):
        path.chmod(0o755)
    (kept / "models").chmod(0o755)
    arguments = ["model", "list", "--state", str(kept)]
    assert as_nobody(lambda: main(arguments)) == 0
    (kept / "models").chmod(0o700)
    assert as_nobody(lambda: main(arguments)) == 69
