"""`vedette check-config` as people and programs call it."""

import json
from pathlib import Path

import pytest

from tests.support.daemon.running import vedette
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


def test_json_is_one_object_in_both_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives config, places and warnings, or problems; the exit code stays."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {fps: 3}\n")
    assert main(["check-config", "--config", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["camera"]["fps"] == 3
    assert (printed["places"]["camera.fps"], printed["warnings"]) == (f"{path}:1", [])
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


def test_a_missing_model_and_unknown_options_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are reported like every other problem."""
    path = tmp_path / "config.yaml"
    path.write_text("camera:\n  source: synthetic?sed=7\ndetector:\n  model: street.tflite\n  threads: 0\n")
    assert main(["check-config", "--config", str(path)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    source, model, threads = err.splitlines()
    assert source.startswith(f"vedette: {path}:2: camera.source: synthetic?sed=7: unknown option sed; expected ")
    assert model == (f"vedette: {path}:4: detector.model: {tmp_path}/street.tflite: cannot be read: "
                     "No such file or directory")
    assert "detector.threads" in threads
    path.write_text("camera: {source: 'synthetic?seed=7'}\ndetector: {model: street.tflite}\n")
    assert main(["check-config", "--config", str(path), "--json"]) == 78
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1
    (tmp_path / "street.tflite").write_bytes(b"TFL3")
    assert main(["check-config", "--config", str(path)]) == 0


def test_a_number_as_a_source_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenCV calls the first camera 0; here it is a device or, if somebody has such a file, a file."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {source: '07'}\n")
    assert main(["check-config", "--config", str(path)]) == 78
    assert capsys.readouterr().err == (f"vedette: {path}:1: camera.source: 07: no such file or folder; "
                                       "is /dev/video07 meant?\n")
    (tmp_path / "07").mkdir()
    assert vedette("check-config", "--config", path, folder=tmp_path).returncode == 0


def test_a_model_named_by_a_variable_is_checked(tmp_path: Path) -> None:
    """It starts from the working folder, and the problem names the variable."""
    done = vedette("check-config", folder=tmp_path, env={"VEDETTE_DETECTOR__MODEL": "absent.tflite"})
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == ("vedette: VEDETTE_DETECTOR__MODEL: detector.model: absent.tflite: cannot be read: "
                           "No such file or directory\n")


def test_an_update_source_that_cannot_be_used_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root that is not there, a folder that is none and a source without a root are each a problem of their own."""
    path = tmp_path / "config.yaml"
    path.write_text(f"update:\n  source: {tmp_path}/media\n  root: root.json\n")
    assert main(["check-config", "--config", str(path)]) == 78
    assert capsys.readouterr().err.splitlines() == [
        f"vedette: {path}:2: update.source: {tmp_path}/media: no such folder",
        f"vedette: {path}:3: update.root: {tmp_path}/root.json: cannot be read: No such file or directory"]
    (tmp_path / "media").mkdir()
    (tmp_path / "root.json").write_text("{}")
    assert main(["check-config", "--config", str(path)]) == 0


@pytest.mark.parametrize(("source", "problem"), [
    ("'0'", "0: no such file or folder; is /dev/video0 meant?"), ("0", "expected a name such as /dev/video0, saw 0"),
    ("\u201csynthetic\u201d", "is synthetic meant?"),
    ("nowhere/street.mp4", "nowhere/street.mp4: no such file or folder"),
    ("192.168.1.20", "is rtsp://\u2026 or http://\u2026 meant")])
def test_a_source_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str,
                                             problem: str) -> None:
    """What `run` finds out later is said at once, with what may be meant."""
    path = tmp_path / "config.yaml"
    path.write_text(f"camera: {{source: {source}}}\n", encoding="utf-8")
    assert main(["check-config", "--config", str(path)]) == 78
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("source", ["auto", "picamera2", "/dev/video7", "HTTP://cam/1", "' synthetic '"])
def test_a_camera_may_be_absent(tmp_path: Path, source: str) -> None:
    """A camera may be plugged in later. Space around a source and the case of a scheme do not matter."""
    path = tmp_path / "config.yaml"
    path.write_text(f"camera: {{source: {source}}}\n")
    assert main(["check-config", "--config", str(path)]) == 0


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands it in an argument such as --config=~/config.yaml."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.yaml").write_text("camera: {fps: 3}\n")
    assert main(["check-config", "--config=~/config.yaml"]) == 0


def test_a_quiet_check_prints_problems_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reload runs it: nothing for a good configuration, every problem and code 78 for a bad one."""
    path = tmp_path / "config.yaml"
    path.write_text("device: gate\n")
    assert main(["check-config", "--quiet", "--config", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    path.write_text("devise: gate\n")
    assert main(["check-config", "--quiet", "--config", str(path)]) == 78
    assert "devise" in capsys.readouterr().err


def test_the_signed_configuration_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Its values are printed with their place. One that cannot be used is a warning: the daemon starts without it."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    path, kept = tmp_path / "config.yaml", tmp_path / "configuration.json"
    (tmp_path / "root.json").write_text("{}")
    path.write_text(f"update: {{source: {tmp_path}, root: root.json}}\ndetector: {{score_threshold: 0.3}}\n")
    kept.write_text('{"format": 1, "active": {"values": {"detector": {"score_threshold": 0.6}}, "release": 7, '
                    '"version": "night", "sha256": "00"}}')
    assert main(["check-config", "--config", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["detector"]["score_threshold"] == 0.6
    assert printed["places"]["detector.score_threshold"] == "signed configuration 7"
    kept.write_text("{")
    assert main(["check-config", "--config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert any(line.startswith("  score_threshold: 0.3 ") and line.endswith(f"# {path}:2") for line in out.splitlines())
    assert err == f"warning: the signed configuration is left out: {kept}: is damaged\n"
