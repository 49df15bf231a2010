"""A configuration file that is signed for many devices: what is stored, what is refused, and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.network.operators import NOW, Operator, bundle_of
from vedette.cli import main
from vedette.config.signed import parse_signed
from vedette.fleet.configuration import configuration_of
from vedette.fleet.settings import Settings
from vedette.store.release import Target

NIGHT = "# Darker.\ndetector:\n  score_threshold: 0.6    # was 0.5\nevents:\n"
HIDDEN = "hunter2"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(NIGHT, encoding="utf-8")
    return path


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def settings_of(operator: Operator) -> Settings:
    with operator.opened() as repository:
        return repository.settings


def targets_of(operator: Operator) -> tuple[Target, ...]:
    with operator.opened() as repository:
        return repository.targets


def call(*arguments: object) -> int:
    return main(["fleet", *map(str, arguments)])


def test_devices_get_only_the_keys(operator: Operator, night: Path) -> None:
    """JSON that a device accepts, without comments. The name is the file's, the version the next number."""
    content, bundle = configuration_of(night, settings_of(operator), NOW)
    assert parse_signed(content) == {"detector": {"score_threshold": 0.6}, "events": {}}
    assert b"was" not in content
    assert (bundle.kind, bundle.name, bundle.version, bundle.path) == (
        "configuration", "night", "1", f"bundles/{bundle.sha256}.json")


def test_versions_count_up_and_the_same_content_keeps_its_own(operator: Operator, night: Path) -> None:
    """Also if the file has other comments."""
    def add(**names: str) -> tuple[str, str]:
        content, bundle = configuration_of(night, settings_of(operator), NOW, **names)
        with operator.opened() as repository:
            repository.add(content, bundle)
        return bundle.name, bundle.version
    assert add() == ("night", "1")
    night.write_text(NIGHT.replace("0.6 ", "0.7 "), encoding="utf-8")
    assert add() == ("night", "2")
    night.write_text("detector: {score_threshold: 0.6}\nevents:\n", encoding="utf-8")
    assert add() == ("night", "1")
    assert add(version="dark") == ("night", "dark")
    assert add(name="day") == ("day", "1")


@pytest.mark.parametrize(("text", "said"), [
    (f"mqtt: {{password_file: {HIDDEN}}}\n", ":1: mqtt.password_file: cannot be signed: a file or a secret"),
    (f"detector: {{allow: ['http://cam/?token={HIDDEN}']}}\n", ":1: detector.allow[0]: may be a secret"),
    ("detector: {score_threshold: 2, nms: 1}\nzones: 5\n", ":1: detector.nms: unknown key"),
    ("detector: {score_threshold: yes}\n", ":1: detector.score_threshold: YAML reads yes as a boolean"),
    ("- 1\n", ": expected keys and values at the top level")])
def test_a_wrong_file_is_refused_whole(operator: Operator, night: Path, capsys: pytest.CaptureFixture[str], text: str,
                                       said: str) -> None:
    """Exit code 78, with the line and the key; nothing is stored or signed, and no secret is printed."""
    night.write_text(text, encoding="utf-8")
    before = {path: path.read_bytes() for path in operator.folder.rglob("*") if path.is_file()}
    for command in ("configure", "add"):
        assert call(command, operator.folder, night) == 78
        printed = capsys.readouterr()
        assert said in printed.err
        assert HIDDEN not in printed.out + printed.err
    assert before == {path: path.read_bytes() for path in operator.folder.rglob("*") if path.is_file()}


def test_one_command_signs_it(operator: Operator, night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the devices that it names, as JSON on request; beside the model, and under the next number."""
    operator.release(b"model")
    assert call("configure", operator.folder, night, "--class", "yard,gate", "--buckets", "0-99", "--tags", "indoor",
                "--trial", "minutes=30", "--json") == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (printed["kind"], printed["release"], printed["name"], printed["version"]) == (
        "configuration", 2, "night", "1")
    assert (printed["device_classes"], printed["buckets"], printed["tags"]) == (["yard", "gate"], [0, 99], ["indoor"])
    assert (printed["trial"]["minutes"], printed["notes"]) == (30, [])
    configuration, model = targets_of(operator)
    assert (configuration.path, configuration.release.kind) == ("2/night-1.json", "configuration")
    assert (model.path, model.release.kind) == ("1/street-3.tflite", "model")
    operator.publish()
    served = operator.served / "targets" / "2" / f"{configuration.sha256}.night-1.json"
    assert parse_signed(served.read_bytes())["detector"] == {"score_threshold": 0.6}


def test_a_release_is_widened_by_its_number(operator: Operator, night: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """Without the file or with the same one; another file needs another number."""
    assert call("configure", operator.folder, night, "--buckets", "0-99", "--salt", "common") == 0
    assert call("configure", operator.folder, "--release", 1, "--buckets", "0-4999") == 0
    assert call("configure", operator.folder, night, "--release", 1, "--trial", "frames=5") == 0
    assert call("release", operator.folder, "--release", 1, "--buckets", "0-9999") == 0
    (target,) = targets_of(operator)
    assert (target.release.buckets, target.release.trial.frames, target.release.salt) == ((0, 9999), 5, "salt")
    assert "release 1: configuration night 1 to default on stable, buckets 0-9999" in capsys.readouterr().out
    night.write_text("zones:\n", encoding="utf-8")
    assert call("configure", operator.folder, night, "--release", 1) == 65
    assert "expected the same bundle" in capsys.readouterr().err
    assert call("configure", operator.folder) == 65
    assert call("withdraw", operator.folder, 1) == 0


def test_a_configuration_is_added_like_a_model(operator: Operator, night: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """So every command that takes a bundle takes it by name and version."""
    assert call("add", operator.folder, night, "--json") == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["kind"], added["name"], added["version"]) == ("configuration", "night", "1")
    assert call("release", operator.folder, "night:1") == 0
    assert targets_of(operator)[0].release.kind == "configuration"


def test_a_fleet_of_before_has_models(operator: Operator) -> None:
    """`fleet.json` did not say the kind of a bundle."""
    with operator.opened() as repository:
        repository.add(b"model", bundle_of(b"model"))
        written = json.loads(repository.settings.serialize())
    del written["bundles"][0]["kind"]
    assert Settings.parse(json.dumps(written).encode()).bundles[0].path.endswith(".tflite")
