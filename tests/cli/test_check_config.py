"""`vedette check-config` as people and programs call it."""

import json
from pathlib import Path

import pytest

from vedette.cli import main


def test_the_effective_configuration_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, YAML with places on standard output."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {fps: 3}\n")
    assert main(["check-config", "--config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert any(line.startswith("  fps: 3 ") and line.endswith(f"# {path}:1") for line in out.splitlines())
    assert err == ""


def test_every_problem_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 78, one line for each problem on standard error, nothing on standard output."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {fsp: 3}\nmqtt: {port: 0}\n")
    assert main(["check-config", "--config", str(path)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ", 2)[1] for line in err.splitlines()] == [f"{path}:1", f"{path}:2"]


def test_a_program_reads_one_json_object_either_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives config, places and warnings, or problems; the exit code stays."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {fps: 3}\n")
    assert main(["check-config", "--config", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["config"]["camera"]["fps"], told["places"]["camera.fps"], told["warnings"]) == (3, f"{path}:1", [])
    path.write_text("camera: {fsp: 3}\n")
    assert main(["check-config", "--config", str(path), "--json"]) == 78
    assert json.loads(capsys.readouterr().out) == {"problems": [
        f"{path}:1: camera.fsp: unknown key; did you mean fps?"]}


def test_a_readable_secret_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The warning goes to standard error; the configuration is usable all the same."""
    path = tmp_path / "config.yaml"
    path.write_text("mqtt: {username: gate, password_file: password}\n")
    (tmp_path / "password").write_text("hunter2")
    (tmp_path / "password").chmod(0o644)
    assert main(["check-config", "--config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {path}:1: mqtt.password_file: ")
    assert "hunter2" not in out + err
