"""A signed configuration: which keys it may have, what is refused by name, and where its values stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vedette.config.keys import keys
from vedette.config.load import read, read_running
from vedette.config.models import Config
from vedette.config.signed import MAX_BYTES, SIGNED, Signed, check_signed, parse_signed, read_for_signing, signed_of
from vedette.errors import ConfigError

DRIVE = {"points": [[0, 0.5], [1, 0.5], [1, 1]]}
SOURCE = "update: {source: /srv/models, root: root.json}\n"
HIDDEN = "hunter2"


def refusal(values: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        check_signed(values)
    return str(refused.value)


def device(folder: Path, text: str = "", *, source: str = SOURCE, active: object = None) -> Path:
    """Return the configuration file of a device whose state folder is `folder`."""
    (folder / "root.json").write_text("{}", encoding="utf-8")
    if active is not None:
        (folder / "configuration.json").write_text(json.dumps({"format": 1, "active": active}), encoding="utf-8")
    path = folder / "config.yaml"
    path.write_text(source + text, encoding="utf-8")
    return path


def test_the_keys_are_the_live_ones_that_no_device_must_keep_for_itself() -> None:
    """Commands, the page, and what is kept of pictures stay with each device."""
    live = {key.name for key in keys() if len(key.path) <= 2 and key.applies == "live"}
    kept = {name for name in live if name.startswith(("commands.", "page.", "collect."))}
    assert set(SIGNED) == live - kept - {"events.pictures", "events.clips"}
    assert kept
    assert "camera.roi" in SIGNED


@pytest.mark.parametrize("name", [key.name for key in keys() if len(key.path) == 2 and key.name not in SIGNED])
def test_no_other_key_can_be_signed(name: str) -> None:
    """Each is refused by name, and its value is never repeated."""
    section, key = name.split(".")
    said = refusal({section: {key: HIDDEN}})
    assert said.startswith(f"{name}: cannot be signed: ")
    assert HIDDEN not in said


@pytest.mark.parametrize(("values", "said"), [
    ({"detector": {"score_treshold": 0.5}}, "detector.score_treshold: unknown key; did you mean score_threshold?"),
    ({"detector": {"score_threshold": 5}}, "detector.score_threshold: expected a number less than or equal to 1, saw"),
    ({"mqtt": {"password_file": HIDDEN}},
     "mqtt.password_file: cannot be signed: a file or a secret belongs to one device alone"),
    ({"mqtt": {"password": HIDDEN}}, "mqtt.password: unknown key; did you mean password_file?"),
    ({"device": "x"}, "device: cannot be signed"), ({"detector": None}, "detector: expected keys and values"),
    ({"detector": {"allow": [f"rtsp://me:{HIDDEN}@cam"]}}, "detector.allow[0]: may be a secret"),
    ({"zones": {f"rtsp://me:{HIDDEN}@cam": DRIVE}}, "zones.rtsp://***@cam: may be a secret"),
    ({"events": {"minimum": {f"?token={HIDDEN}": {}}}}, "events.minimum.?token=***: may be a secret"),
    ({"detector": {"allow": ["x" * 201]}}, "detector.allow[0]: expected a text of at most 200 characters"),
    ({"detector": {"allow": ["a\nb"]}}, "detector.allow: expected one line without control characters"),
    ({"zones": {"x": json.loads("[" * 900 + "]" * 900)}}, "zones: nested deeper than 12"),
    ({"camera": {"roi": [0.5, 0, 0.5, 1]}}, "camera.roi: expected [xmin, ymin, xmax, ymax] with xmin < xmax"),
])
def test_a_mistake_is_refused_with_its_key(values: dict[str, Any], said: str) -> None:
    """The message says which key, and what was expected; a possible secret is masked."""
    assert refusal(values).startswith(said)
    assert HIDDEN not in refusal(values)


def test_all_problems_are_named_at_once_and_many_are_cut_short() -> None:
    """Two keys are wrong, so two are named; of thousands, twenty."""
    said = refusal({"detector": {"score_threshold": 2, "iou_threshold": -1}})
    assert [line.split(":")[0] for line in said.splitlines()] == ["detector.score_threshold", "detector.iou_threshold"]
    assert len(refusal({f"key {number}": 1 for number in range(5000)}).splitlines()) == 20


@pytest.mark.parametrize(("content", "said"), [
    (b"{", "not valid JSON"), (b"\xff", "not valid JSON"), (b"[]", "expected keys and values at the top level"),
    (b"[" * 100_000, "not valid JSON"), (b" " * (MAX_BYTES + 1), "larger than 256 kB"),
    (b'{"zones": {}, "zones": {}}', "a key stands twice"),
    (b'{"detector": {"score_threshold": NaN}}', "detector.score_threshold: expected a plain decimal number"),
])
def test_a_file_that_is_none_is_refused(content: bytes, said: str) -> None:
    """Whatever the bytes are, the answer is one refusal."""
    with pytest.raises(ConfigError, match=f"^{said}"):
        parse_signed(content)


def test_a_file_is_what_was_signed() -> None:
    """The values come back as they are, and an empty configuration is one."""
    values = {"detector": {"score_threshold": 0.6, "labels": {"person": 0.7}}, "zones": {"drive": DRIVE}}
    assert parse_signed(json.dumps(values).encode()) == values
    assert parse_signed(b"{}") == {}


def test_the_operator_sees_the_line(tmp_path: Path) -> None:
    """A YAML file is read as a configuration is; a section without keys has none."""
    path = tmp_path / "night.yaml"
    path.write_text("events:\ndetector: {score_threshold: 0.6}\n", encoding="utf-8")
    assert read_for_signing(path) == {"events": {}, "detector": {"score_threshold": 0.6}}
    path.write_text("detector:\n  score_threshold: 0.6\n  threads: 3\nmqtt: {username: me}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_for_signing(path)
    assert [problem.removeprefix(str(path)).split(": ")[:2] for problem in refused.value.problems] == [
        [":3", "detector.threads"], [":4", "mqtt.username"]]
    path.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected keys and values at the top level"):
        read_for_signing(path)


def test_it_wins_over_all_that_is_local(tmp_path: Path) -> None:
    """Over the file, a variable and a flag. A key that it does not have stays as it is, `zones` is one key."""
    path = device(tmp_path, "detector: {score_threshold: 0.3, deny: [cone]}\nzones: {yard: "
                            "{points: [[0, 0], [1, 0], [1, 1]]}}\n")
    signed = Signed({"detector": {"score_threshold": 0.6, "iou_threshold": 0.2, "max_detections": 7},
                     "zones": {"drive": DRIVE}}, 7, "night")
    loaded = read(path, environ={"VEDETTE_DETECTOR__IOU_THRESHOLD": "0.4"}, signed=signed,
                  overrides={"detector.max_detections": 3})
    detector = loaded.config.detector
    assert (detector.score_threshold, detector.iou_threshold, detector.max_detections) == (0.6, 0.2, 7)
    assert detector.deny == ("cone",)
    assert detector.model_fields_set == {"score_threshold", "iou_threshold", "max_detections", "deny"}
    assert loaded.config.zones.keys() == {"drive"}
    places = {name: str(place) for name, place in loaded.places.items() if name.startswith(("detector.", "zones"))}
    assert places.pop("detector.deny") == places.pop("detector.deny[0]") == f"{path}:2"
    assert set(places.values()) == {"signed configuration 7"}


def test_it_loses_to_local_keys_where_the_device_says_so(tmp_path: Path) -> None:
    """Each key that is stated anywhere wins, also with its default. The others are those that are signed."""
    path = device(tmp_path, "detector: {score_threshold: 0.5}\nzones: {}\n",
                  source=SOURCE.replace("}", ", configuration: local}"))
    signed = Signed({"detector": {"score_threshold": 0.6, "iou_threshold": 0.2, "max_detections": 7},
                     "zones": {"drive": DRIVE}, "publish": {"results": "all"}}, 7, "night")
    loaded = read(path, environ={"VEDETTE_DETECTOR__IOU_THRESHOLD": "0.4"}, signed=signed)
    detector = loaded.config.detector
    assert (detector.score_threshold, detector.iou_threshold, detector.max_detections) == (0.5, 0.4, 7)
    assert (loaded.config.zones, loaded.config.publish.results) == ({}, "all")
    assert str(loaded.places["publish.results"]) == "signed configuration 7"


def test_without_a_source_there_is_none(tmp_path: Path) -> None:
    """Who takes the update source away has the local keys alone."""
    signed = Signed({"detector": {"score_threshold": 0.6}}, 7, "night")
    assert read(device(tmp_path, source=""), environ={}, signed=signed).config == Config()


def test_local_mistakes_are_found_also_below_signed_keys(tmp_path: Path) -> None:
    """Otherwise the device could not start on the day on which the signed configuration goes."""
    signed = Signed({"detector": {"score_threshold": 0.6}}, 7, "night")
    with pytest.raises(ConfigError, match="expected a number less"):
        read(device(tmp_path, "detector: {score_threshold: 5}\n"), environ={}, signed=signed)


def test_the_problem_of_a_signed_value_names_its_release(tmp_path: Path) -> None:
    """Such as one that an older version accepted."""
    with pytest.raises(ConfigError, match=r"^signed configuration 7: detector\.score_threshold: expected"):
        read(device(tmp_path), environ={}, signed=Signed({"detector": {"score_threshold": 5}}, 7, "night"))


ACTIVE = {"values": {"detector": {"score_threshold": 0.6}}, "release": 7, "version": "night", "sha256": "0" * 64}


def test_the_state_folder_has_the_one_that_runs(tmp_path: Path) -> None:
    """Whatever else is in the file. Without a file, or with none in it, there is none."""
    assert signed_of(tmp_path) is None
    path = device(tmp_path, active={**ACTIVE, "later": 1})
    assert signed_of(tmp_path) == Signed(ACTIVE["values"], 7, "night")  # type: ignore[arg-type]  # a dict of the test
    assert read_running(path, tmp_path, environ={}).config.detector.score_threshold == 0.6
    (tmp_path / "configuration.json").write_text('{"format": 1, "active": null}', encoding="utf-8")
    assert signed_of(tmp_path) is None
    assert read_running(path, tmp_path, environ={}).config.detector.score_threshold == 0.5


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"{}", b"\xff", b'{"active": 5}', b'{"active": {"values": {}}}',
    b'{"active": {"values": [], "release": 7, "version": "x"}}',
    b'{"active": {"values": {}, "release": 1e999, "version": "x"}}',
    b'{"active": {"values": {"mqtt": {"host": "x"}}, "release": 7, "version": "x"}}'])
def test_a_damaged_one_leaves_the_local_keys(tmp_path: Path, content: bytes) -> None:
    """So does one that this version cannot use: the device starts, and a warning says why."""
    path = device(tmp_path, "detector: {score_threshold: 0.3}\n")
    (tmp_path / "configuration.json").write_bytes(content)
    with pytest.raises(ConfigError):
        signed_of(tmp_path)
    loaded = read_running(path, tmp_path, environ={})
    assert loaded.config.detector.score_threshold == 0.3
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith("the signed configuration is left out: ")


def test_a_file_that_nobody_may_read_leaves_the_local_keys(tmp_path: Path) -> None:
    """A folder in its place is like that for every user."""
    (tmp_path / "configuration.json").mkdir()
    assert "cannot be read" in read_running(device(tmp_path), tmp_path, environ={}).warnings[0]
