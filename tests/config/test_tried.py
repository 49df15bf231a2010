"""What can be tried, what is refused by name, and when what is tried ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vedette.config.keys import keys
from vedette.config.load import Loaded, read
from vedette.config.models import Config
from vedette.config.reload import Reloader
from vedette.config.tried import TRIABLE, with_tried
from vedette.errors import ConfigError

DRIVE = {"points": [[0, 0.5], [1, 0.5], [1, 1]]}
FILE = "detector: {score_threshold: 0.4, deny: [cone]}\nzones: {yard: {points: [[0, 0], [1, 0], [1, 1]]}}\n"


class Part:
    """Keeps each configuration that it gets."""

    def __init__(self) -> None:
        self.seen: list[Config] = []

    def reload(self, config: Config) -> None:
        self.seen.append(config)


class Rig:
    """A reloader with a file, a part, and one that takes only what lasts."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.yaml"
        self.file.write_text(FILE, encoding="utf-8")
        self.reloader = Reloader(self.load(), self.load)
        self.part, self.lasting = Part(), Part()
        self.reloader.parts, self.reloader.lasting_parts = (self.part,), (self.lasting,)

    def load(self) -> Loaded:
        return read(self.file, environ={})


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def refusal(wanted: Mapping[str, object]) -> str:
    with pytest.raises(ConfigError) as refused:
        with_tried(Config(), wanted)
    return str(refused.value)


def test_only_live_keys_can_be_tried() -> None:
    """Each key of the list is one that a reload applies at once."""
    assert set(TRIABLE) <= {key.name for key in keys() if key.applies == "live"}


def test_what_is_tried_is_what_the_file_would_say(rig: Rig) -> None:
    """A tried key counts as a stated one, replaces the value of the file, and leaves every other key."""
    wanted = {"detector": {"score_threshold": 0.7}, "zones": {"drive": DRIVE}, "lines": {}}
    assert rig.reloader.try_out(wanted) == ("detector.score_threshold", "zones", "lines")
    rig.file.write_text("detector: {score_threshold: 0.7, deny: [cone]}\n"
                        "zones: {drive: {points: [[0, 0.5], [1, 0.5], [1, 1]]}}\nlines: {}\n", encoding="utf-8")
    tried, wished = rig.part.seen[-1], rig.load().config
    assert tried == wished == rig.reloader.config
    assert tried.detector.model_fields_set == wished.detector.model_fields_set
    assert rig.reloader.reasons() == {"config_tried": "detector.score_threshold, zones, lines"}
    assert {name: place for name, place in rig.reloader.places.items() if place == "tried"}.keys() == {
        "detector.score_threshold", "zones", "lines"}
    assert rig.reloader.places["detector.deny"] == f"{rig.file}:1"
    assert rig.lasting.seen == []


def test_a_second_one_replaces_the_first_and_none_takes_it_back(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing adds up: what is not repeated is as in the file again. The log says what is tried."""
    caplog.set_level(logging.INFO)
    before = rig.reloader.config
    rig.reloader.try_out({"detector": {"score_threshold": 0.7}})
    rig.reloader.try_out({"detector": {"allow": ["person"]}})
    assert rig.part.seen[-1].detector.score_threshold == 0.4
    assert rig.reloader.tried == {"detector": {"allow": ["person"]}}
    assert rig.reloader.try_out({"detector": {}}) == ()
    assert rig.part.seen[-1] == before
    assert (rig.reloader.tried, rig.reloader.reasons()) == ({}, {})
    assert rig.reloader.places["detector.score_threshold"] == f"{rig.file}:1"
    said = [record.message.partition(": ")[2] for record in caplog.records]
    assert said == ['{"detector": {"score_threshold": 0.7}}', '{"detector": {"allow": ["person"]}}', "nothing"]


def test_a_reload_ends_it(rig: Rig) -> None:
    """Afterwards the file counts alone. A file that is refused changes nothing, so what is tried stays."""
    rig.reloader.try_out({"detector": {"score_threshold": 0.7}})
    rig.file.write_text("detector: {score_threshold: 70}\n", encoding="utf-8")
    rig.reloader.reload()
    assert rig.reloader.reasons().keys() == {"config_tried", "config_rejected"}
    rig.file.write_text("detector: {score_threshold: 0.3}\ncamera: {fps: 3}\n", encoding="utf-8")
    rig.reloader.reload()
    assert rig.part.seen[-1].detector.score_threshold == 0.3
    assert rig.reloader.reasons() == {"restart_needed": "camera.fps"}
    assert rig.reloader.tried == {}
    assert rig.lasting.seen == rig.part.seen[-1:]


def test_a_refused_one_changes_nothing(rig: Rig) -> None:
    """What was tried before stays, also if only one of several keys is wrong."""
    rig.reloader.try_out({"detector": {"score_threshold": 0.7}})
    seen = list(rig.part.seen)
    for wrong in ({"detector": {"iou_threshold": 2, "score_threshold": 0.1}}, {"zones": {}, "mqtt": {"host": "x"}}):
        with pytest.raises(ConfigError):
            rig.reloader.try_out(wrong)
    assert rig.part.seen == seen
    assert rig.reloader.tried == {"detector": {"score_threshold": 0.7}}


@pytest.mark.parametrize("name", [key.name for key in keys() if len(key.path) == 2 and key.name not in TRIABLE])
def test_no_other_key_can_be_tried(name: str) -> None:
    """Masks, folders, the page, commands and all the rest are refused by name, whatever their value."""
    section, key = name.split(".")
    assert refusal({section: {key: None}}).startswith(f"{name}: cannot be tried; expected detector.score_threshold, ")


@pytest.mark.parametrize(("wanted", "said"), [
    ({"detector": {"score_threshold": 1.5}},
     "detector.score_threshold: expected a number less than or equal to 1, saw 1.5 (Lowest score of a detection)"),
    ({"detector": {"score_treshold": 0.5}}, "detector.score_treshold: unknown key; did you mean score_threshold?"),
    ({"detector": {"score_threshold": "0.5"}}, 'detector.score_threshold: expected a number without quotes, saw "0.5"'),
    ({"zones": {"drive": {"points": [[0, 0], [1, 1]]}}}, "zones.drive.points: expected more items in this list"),
    ({"zones": {"": DRIVE}}, 'zones."": expected a name that is not empty'),
    ({"zones": None}, "zones: expected keys and values, saw null"), ({"zones": []}, "zones: expected keys and values"),
    ({"detector": 5}, "detector: expected keys and values"), ({"device": "x"}, "device: cannot be tried"),
    ({"transaction": "t"}, "transaction: unknown key"), ({"": {}}, '"": unknown key'),
    ({"lines": {"gate": {"from": [0, 0], "to": [0, 0]}}}, "lines.gate: expected two points that differ"),
    ({"detector": {"score_threshold": float("nan")}}, "detector.score_threshold: expected a plain decimal number"),
    ({"zones": {"drive": {**DRIVE, "hold_s": 10**400}}}, "zones: expected a plain decimal number"),
    ({"events": {"keep_s": float("inf")}}, "events.keep_s: expected a plain decimal number"),
    ({"detector": {"allow": ["a\nb"]}}, "detector.allow: expected one line without control characters"),
    ({"detector": {"labels": {"\ud800": 0.5}}}, "detector.labels: expected text in UTF-8"),
    ({"zones": {"x": json.loads("[" * 900 + "]" * 900)}}, "zones: nested deeper than 12"),
])
def test_a_mistake_is_refused_with_its_key(wanted: dict[str, Any], said: str) -> None:
    """The message says which key, and what was expected."""
    assert refusal(wanted).startswith(said)


def test_a_body_full_of_mistakes_has_a_short_answer() -> None:
    """Ten are named."""
    assert len(refusal({f"key {number}": 1 for number in range(5000)}).splitlines()) == 10
    assert len(refusal({"zones": {f"{number}": 1 for number in range(5000)}}).splitlines()) == 10


def test_a_polygon_of_many_points_on_a_line_is_refused_soon() -> None:
    """The work grows with the points, not with their square, because the main thread does it."""
    assert "all on a line" in refusal({"zones": {"x": {"points": [[number / 20_000] * 2 for number in range(20_000)]}}})
    assert "all on a line" in refusal({"zones": {"x": {"points": [[0.5, 0.5]] * 20_000}}})
