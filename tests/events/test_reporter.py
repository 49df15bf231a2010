"""One visit is one event: when it starts, what changes, when it ends, and what is no event at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.fakes import IDENTITY, MODEL, FakeClock, FakePublisher, StatusCamera, make_frame, make_result
from vedette.cli.schemas import json_schemas
from vedette.config.models import Config
from vedette.events.event import STILL_S
from vedette.events.reporter import PICTURES_MAX, REMEMBER_EVERY_S, Draft, EventReporter
from vedette.events.results import ResultTracker
from vedette.events.tracker import HITS
from vedette.events.zone_reporter import ZoneReporter
from vedette.types import WHOLE, Box, Detection

STEP_S = 0.2


def car(x: float = 0.4, *, score: float = 0.9, label: str = "car", size: float = 0.2) -> Detection:
    return Detection(label, 2, score, Box(x, 0.4, x + size, 0.4 + size))


class Street:
    """Results, five a second, and the events that are made of them."""

    def __init__(self, **config: Any) -> None:
        self.clock = FakeClock()
        self.drafts: list[Draft] = []
        self.is_synced = True
        self.publisher = FakePublisher()
        self.camera = StatusCamera([])
        start = Config.model_validate(config)
        self.tracker = ResultTracker(start, self.clock, self.camera)
        self.tracker.events = EventReporter(start, IDENTITY, put=self.drafts.append,
                                            clock_synced=lambda: self.is_synced,
                                            wants_picture=lambda _: bool(start.events.pictures))
        self.tracker.zones = ZoneReporter(self.publisher, self.clock, clock_synced=lambda: self.is_synced)

    def reload(self, **config: Any) -> None:
        self.tracker.reload(Config.model_validate(config))

    def show(self, *things: Detection, seconds: float = STEP_S, every_s: float = STEP_S) -> None:
        for _ in range(round(seconds / every_s)):
            self.clock.advance(every_s)
            self.tracker.follow(make_result(make_frame(self.clock), things))

    def look_at(self, roi: Box, *things: Detection, seconds: float = STEP_S) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            self.tracker.follow(replace(make_result(make_frame(self.clock), things), roi=roi))

    def not_looking(self, seconds: float) -> None:
        self.tracker.on_blind()
        self.clock.advance(seconds)

    @property
    def told(self) -> list[Mapping[str, Any]]:
        return [draft.payload for draft in self.drafts if draft.publish]

    @property
    def kinds(self) -> list[str]:
        return [told["type"] for told in self.told]


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_one_visit_is_one_start_and_one_end() -> None:
    """The start comes once the thing is confirmed, the end `keep_s` after it was seen last; times are the frames'."""
    street = Street()
    street.show(car(), seconds=(HITS - 1) * STEP_S)
    assert street.kinds == []
    street.show(car())
    assert street.kinds == ["start"]
    street.show(car(), seconds=4)
    street.show(seconds=2.8)
    assert street.kinds == ["start"]
    street.show(seconds=0.6)
    start, end = street.told
    assert end["type"] == "end"
    assert start["id"] == end["id"] == "7-1"
    assert start["episode"] == "7-1"
    assert start["began"] == end["began"]
    assert start["ended"] is None
    assert seconds_between(end["began"], end["ended"]) == pytest.approx((HITS - 1) * STEP_S + 4, abs=0.01)
    assert (end["score"], end["top_score"], end["interrupted"]) == (0.9, 0.9, False)
    assert end["model"]["name"] == "street"


def test_every_message_fits_its_schema() -> None:
    """Also one of zones, with and without counts."""
    street = Street(zones={"drive": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "loiter_s": 2}},
                    lines={"gate": {"from": [0.5, 0], "to": [0.5, 1]}})
    street.show(car(0.1), seconds=2)
    street.show(car(0.2), seconds=1)
    street.show(seconds=4)
    street.tracker.on_blind()
    assert street.kinds[0] == "start"
    assert street.kinds[-1] == "end"
    for told in street.told:
        Draft202012Validator(json_schemas()["events-1"]).validate(told)
    for message in street.publisher.messages:
        Draft202012Validator(json_schemas()["zones-1"]).validate(json.loads(message.payload))


def test_another_region_ends_what_lies_outside() -> None:
    """At once and as interrupted, since nobody looks there; no zone has it any more. What lies inside goes on."""
    street = Street(zones={"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "hold_s": 0}})
    street.look_at(WHOLE, car(0.1), car(0.7), seconds=2)
    assert street.kinds.count("start") == 2
    street.look_at(Box(0.5, 0, 1, 1), car(0.7))
    assert street.kinds.count("end") == 1
    street.look_at(Box(0.5, 0, 1, 1), car(0.7), seconds=6)
    ends = [told for told in street.told if told["type"] == "end"]
    assert [(end["box"][0], end["interrupted"]) for end in ends] == [(0.1, True)]
    assert seconds_between(ends[0]["began"], ends[0]["ended"]) == pytest.approx(2 - STEP_S, abs=0.01)
    assert street.kinds.count("start") == 2
    zones = [json.loads(message.payload)["zones"] for message in street.publisher.messages]
    assert zones == [{"all": {}}, {"all": {"car": 2}}, {"all": {"car": 1}}]


def test_a_region_that_is_new_may_cut_a_thing() -> None:
    """The part that is left of its box is the same thing. In a larger region it is whole again."""
    street = Street()
    street.look_at(WHOLE, car(0.4), seconds=2)
    street.look_at(Box(0.5, 0, 1, 1), car(0.5, size=0.1), seconds=2)
    street.look_at(WHOLE, car(0.4), seconds=2)
    assert street.kinds.count("start") == 1
    assert "end" not in street.kinds


def test_a_thing_that_comes_back_after_keep_s_is_a_new_one() -> None:
    """Before, it is the same, also behind something."""
    street = Street()
    for _ in range(5):
        street.show(car(), seconds=2)
        street.show(seconds=2.6)
    assert set(street.kinds) == {"start", "update"}
    street.show(seconds=1)
    street.show(car(), seconds=2)
    assert [(told["type"], told["id"]) for told in street.told if told["type"] != "update"] == [
        ("start", "7-1"), ("end", "7-1"), ("start", "7-2")]


def test_what_stands_still_for_an_hour_is_one_event_with_one_update() -> None:
    """Through other rates, too. What is remembered for a crash is not published."""
    street = Street()
    street.show(car(), seconds=600)
    street.show(car(), seconds=2940, every_s=2)
    street.show(car(), seconds=60, every_s=0.07)
    assert street.kinds == ["start", "update"]
    update = street.told[-1]
    assert update["stationary"]
    remembered = [draft for draft in street.drafts if not draft.publish]
    assert 3600 / REMEMBER_EVERY_S - 3 <= len(remembered) <= 3600 / REMEMBER_EVERY_S + 1
    assert street.drafts[-1].seen_at - street.drafts[0].seen_at > timedelta(seconds=3500)


def test_stationary_ends_when_it_drives_off() -> None:
    """A trembling box does not move it."""
    street = Street()
    for at in range(200):
        street.show(car(0.4 + 0.01 * (at % 3)))
    assert street.kinds == ["start", "update"]
    for at in range(60):
        street.show(car(0.4 + 0.005 * at))
    assert street.kinds == ["start", "update", "update"]
    assert not street.told[-1]["stationary"]
    street.show(car(0.7), seconds=STILL_S + 2)
    assert street.told[-1]["stationary"]
    street.show(seconds=4)
    assert street.told[-1]["moved"] == pytest.approx(0.3, abs=0.02)


def test_a_time_without_looking_ends_nothing_and_invents_nothing() -> None:
    """What is seen afterwards goes on. What is not, ends as interrupted, when it was seen last."""
    street = Street()
    street.show(car(0.1), car(0.6), seconds=2)
    seen_at = street.clock.utc_now()
    street.not_looking(300)
    assert street.kinds == ["start", "start"]
    street.show(car(0.1), seconds=5)
    assert street.kinds.count("end") == 1
    end = next(told for told in street.told if told["type"] == "end")
    assert end["id"] == "7-2"
    assert end["interrupted"]
    assert datetime.fromisoformat(end["ended"]) == seen_at.replace(microsecond=seen_at.microsecond // 1000 * 1000)
    street.show(seconds=4)
    assert street.told[-1]["id"] == "7-1"
    assert not street.told[-1]["interrupted"]


def test_the_results_of_a_fallback_are_no_look() -> None:
    """The cloud sees for a minute; then the car is still there."""
    street = Street()
    street.show(car(), seconds=2)
    for _ in range(60):
        street.clock.advance(1)
        street.tracker.on_result(replace(make_result(make_frame(street.clock)), source="cloud"))
    street.show(car(), seconds=2)
    assert {told["id"] for told in street.told} == {"7-1"}
    assert "end" not in street.kinds


def test_the_end_of_the_run_ends_what_is_open() -> None:
    """Once, as interrupted; the tracks of the next results are new things."""
    street = Street()
    street.show(car(), seconds=2)
    street.tracker.close()
    street.tracker.close()
    assert street.kinds == ["start", "end"]
    assert street.told[-1]["interrupted"]


def test_a_film_that_is_detected_faster_than_it_plays_has_its_own_time() -> None:
    """With `every_frame`, a thing stays as long as in the film, and is gone after `keep_s` of the film."""
    street = Street()
    for step in range(40):
        street.clock.advance(STEP_S / 10)
        frame = replace(make_frame(street.clock), film_ns=round((1 + step * STEP_S) * 1e9))
        street.tracker.follow(make_result(frame, (car(),) if step < 20 else ()))
    assert street.kinds == ["start", "end"]
    assert seconds_between(street.told[-1]["began"], street.told[-1]["ended"]) == pytest.approx(19 * STEP_S)


@pytest.mark.parametrize(("labels", "events"), [([], 1), (["car", "truck"], 1), (["car"], 1), (["truck", "bus"], 0)])
def test_a_thing_whose_label_flickers_is_one_event(labels: list[str], events: int) -> None:
    """A model that calls a car a truck now and then tells of no truck, whatever labels are wanted."""
    street = Street(events={"labels": labels})
    for name in ["car", "car", "car", "truck"] * 5:
        street.show(car(label=name))
    assert [(told["type"], told["label"]) for told in street.told] == [("start", "car")] * events


def test_only_chosen_labels_make_events() -> None:
    """`events.labels`, else `detector.allow`, else all. A label that is not wanted any more ends its events."""
    def labels(**config: Any) -> set[str]:
        street = Street(**config)
        street.show(car(0.1), car(0.6, label="person"), seconds=2)
        return {told["label"] for told in street.told}

    assert labels() == {"car", "person"}
    assert labels(events={"labels": ["person"]}) == {"person"}
    assert labels(detector={"allow": ["car"]}) == {"car"}
    assert labels(detector={"allow": ["car", "person"]}, events={"labels": ["person"]}) == {"person"}
    street = Street()
    street.show(car(0.1), car(0.6, label="person"), seconds=2)
    street.reload(events={"labels": ["person"]})
    street.show(car(0.1), car(0.6, label="person"), seconds=2)
    assert [(told["type"], told["label"]) for told in street.told] == [
        ("start", "car"), ("start", "person"), ("end", "car")]


@pytest.mark.parametrize(("minimum", "reached"), [
    ({"score": 0.8}, car(score=0.85)), ({"size": 0.05}, car(size=0.3)), ({"duration_s": 3}, car())])
def test_what_a_thing_must_reach(minimum: dict[str, float], reached: Detection) -> None:
    """Per label: the median of scores, the share of the frame, the seconds."""
    street = Street(events={"minimum": {"car": minimum}})
    street.show(car(score=0.7), car(0.7, score=0.7, label="person"), seconds=2)
    assert [told["label"] for told in street.told] == ["person"]
    street.show(reached, seconds=4)
    assert [told["label"] for told in street.told if told["type"] == "start"] == ["person", "car"]


def test_a_scene_is_one_episode() -> None:
    """Who comes while another one is there belongs to it; a parked car holds no scene open."""
    street = Street()
    street.show(car(0.1), seconds=2)
    street.show(car(0.1), car(0.6, label="person"), seconds=2)
    assert [told["episode"] for told in street.told] == ["7-1", "7-1"]
    street.show(car(0.1), seconds=STILL_S + 4)
    street.show(car(0.1), car(0.6, label="person"), seconds=2)
    assert street.told[-1]["episode"] == street.told[-1]["id"] == "7-3"


def test_times_from_before_the_clock_was_set_are_made_right() -> None:
    """The start says that they are wrong; the end has the right ones, that of the picture too."""
    street = Street(events={"pictures": True})
    street.is_synced = False
    street.show(car(), seconds=2)
    assert street.drafts[0].unsynced_ns == pytest.approx(1_200_000_000, abs=1000)
    street.is_synced = True
    street.clock.epoch += timedelta(days=365)
    street.show(car(score=0.5), seconds=2)
    street.show(seconds=4)
    end = street.drafts[-1]
    assert end.unsynced_ns is None
    assert end.picture
    assert street.clock.utc_now() - end.picture.captured_at < timedelta(minutes=1)


def test_a_car_park_leaves_room_for_the_picture_of_who_comes() -> None:
    """Things that stand still give way, one for each new one."""
    street = Street(events={"pictures": True})
    places = [Box(0.1 * column, 0.2 * row, 0.1 * column + 0.08, 0.2 * row + 0.15)
              for row in range(4) for column in range(10)]
    parked = [Detection("car", 2, 0.9, place) for place in places[:PICTURES_MAX]]
    street.show(*parked, seconds=STILL_S + 2)
    street.show(*parked, Detection("person", 0, 0.9, places[-1]), seconds=2)
    street.show(*parked, seconds=4)
    assert (street.told[-1]["type"], street.told[-1]["label"]) == ("end", "person")
    assert street.drafts[-1].picture
    street.tracker.close()
    assert sum(bool(draft.picture) for draft in street.drafts) >= PICTURES_MAX


def test_updates_come_at_most_once_a_second() -> None:
    """A crossing a result is told in one message a second, with all of them."""
    street = Street(lines={"gate": {"from": [0.5, 0], "to": [0.5, 1]}})
    seconds = 32
    for at in range(round(seconds / STEP_S)):
        street.show(car(0.37 if at // 4 % 2 else 0.43, size=0.2))       # crosses every 0.8 s
    assert seconds / 2 <= street.kinds.count("update") <= seconds


def test_zones_are_told_at_once_and_left_after_hold_s() -> None:
    """Null while nobody looks, and told again after."""
    street = Street(zones={"left": {"points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "hold_s": 4},
                           "right": {"points": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], "hold_s": 4}})

    def told() -> list[Any]:
        return [json.loads(message.payload)["zones"] for message in street.publisher.messages]

    street.show()
    assert told() == [{"left": {}, "right": {}}]
    street.show(car(0.1), car(0.2, label="person"), seconds=2)
    assert told()[-1] == {"left": {"car": 1, "person": 1}, "right": {}}
    count = len(told())
    street.show(seconds=6)
    assert (len(told()), street.tracker.follows()) == (count, True)
    street.show(seconds=2)
    assert (told()[-1], street.tracker.follows()) == ({"left": {}, "right": {}}, False)
    street.not_looking(10)
    street.tracker.on_blind()
    assert told()[-1] is None
    assert told()[-2] is not None
    street.show()
    assert told()[-1] == {"left": {}, "right": {}}
    street.reload(events={"enabled": False})
    street.show(car(0.1), seconds=2)
    assert told()[-1] is None


def test_a_frozen_picture_shows_nothing_new() -> None:
    """Nobody loiters in it, stands still or comes. What is gone afterwards was seen last before it froze."""
    street = Street(zones={"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "loiter_s": 5}})
    street.show(car(0.1), car(0.4), seconds=2)
    seen_at = street.clock.utc_now()
    count = len(street.told)
    street.camera.now = replace(street.camera.now, state="frozen")
    street.show(car(0.1), car(0.4), car(0.7), seconds=60)
    assert len(street.told) == count
    assert json.loads(street.publisher.messages[-1].payload)["zones"] is None
    street.camera.now = replace(street.camera.now, state="capturing")
    street.show(car(0.4), seconds=4)
    ends = [told for told in street.told if told["type"] == "end"]
    assert [end["interrupted"] for end in ends] == [True]
    assert datetime.fromisoformat(ends[0]["ended"]) == seen_at.replace(microsecond=seen_at.microsecond // 1000 * 1000)
    assert {told["id"] for told in street.told} == {"7-1", "7-2"}


def test_the_model_is_the_one_that_saw_the_thing_last() -> None:
    """A new model that does not see it ends its event, and is not named in it."""
    street = Street()
    street.show(car(), seconds=2)
    for _ in range(20):
        street.clock.advance(STEP_S)
        street.tracker.follow(replace(make_result(make_frame(street.clock)), model=replace(MODEL, version="99")))
    assert [told["model"]["version"] for told in street.told] == [MODEL.version] * 2


def test_zones_are_null_while_events_are_off() -> None:
    """Also when nothing was there when they were switched off."""
    street = Street(zones={"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}})
    street.show()
    assert json.loads(street.publisher.messages[-1].payload)["zones"] == {"all": {}}
    street.reload(events={"enabled": False})
    street.show()
    assert json.loads(street.publisher.messages[-1].payload)["zones"] is None
