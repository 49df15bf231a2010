"""`vedette model verify` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.models import bundles, tiny_detectors
from vedette.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.pack(tmp_path_factory.mktemp("sound"))


def call(*arguments: object) -> int:
    return main(["model", "verify", *map(str, arguments)])


def test_a_sound_bundle_is_verified(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each check is a line, the last line is `verified`, the exit code 0."""
    assert call(sound) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{sound}  garden 7"
    assert [line.split()[0] for line in lines[1:5]] == ["ok"] * 4
    assert lines[-1] == "verified"


def test_a_program_reads_one_json_object(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checks, digest, runtime, latency and golden frames are there."""
    assert call(sound, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["passed"], printed["cause"], printed["version"]) == (True, None, "7")
    assert {check["state"] for check in printed["checks"]} == {"passed"}
    assert printed["golden"]["frames"] == [{"name": "01-garden.png", "f1": 1.0, "differences": []}]
    assert printed["invoke_ms"] > 0


def test_a_wrong_bundle_shows_the_frame_and_the_cause(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cause is on the check's line, each difference of each golden frame below; exit code 65."""
    assert call(bundles.altered(sound, color="bgr")) == 65
    printed = capsys.readouterr().out
    assert "fail golden frames color: the golden frames agree with rgb, but the bundle states bgr" in printed
    assert "01-garden.png: missing: sky" in printed
    assert printed.endswith("not verified\n")


def test_a_model_that_is_no_bundle_is_not_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checks that could not be made are listed, and the exit code is 65: there is no expected result."""
    assert call(tiny_detectors.write(tmp_path)) == 65
    printed = capsys.readouterr().out
    assert printed.count("no bundle") == 2
    assert "ok   runs" in printed


def test_a_path_that_is_no_model_fails_at_the_first_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A web page, a folder and a missing file each fail with a message."""
    page = tmp_path / "page.tflite"
    page.write_text("<html>404</html>")
    for path, expected in ((page, "web page"), (tmp_path, "a folder"), (tmp_path / "no.tflite", "No such file")):
        assert call(path) == 65
        assert expected in capsys.readouterr().out
