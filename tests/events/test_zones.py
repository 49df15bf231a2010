"""Zones and lines: what a thing that moves enters, leaves and crosses, and where it loiters."""

import pickle
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import pytest

from tests.support.truth.walks import Draw, Reference, Told, Walk, measured
from vedette.config.scene import LineConfig, Lines, ZoneConfig, Zones
from vedette.events.zones import CROSSED_MAX, INERTIA_S, Crossing, Path, Places

DRIVE = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
GATE = {"from": (0.2, 0.5), "to": (0.8, 0.5)}
ABOVE, BELOW = (0.5, 0.4), (0.5, 0.6)
WALKS, FEWER = 500, 200


def drive(**keys: object) -> Zones:
    return {"drive": ZoneConfig.model_validate({"points": DRIVE, **keys})}


def gate(**keys: object) -> Lines:
    return {"gate": LineConfig.model_validate({**GATE, **keys})}


PLACES = Places(drive(loiter_s=30), gate())


def walked(feet: Iterable[tuple[float, float]], *, rate: float = 5, places: Places = PLACES,
           label: str = "person") -> Path:
    path = Path(label)
    for step, foot in enumerate(feet):
        path.move(places, foot, 100 + step / rate)
    return path


@cache
def walks() -> list[tuple[Walk, Told]]:
    return [(walk, measured(walk)) for walk in (Draw(number).walk() for number in range(WALKS))]


def test_random_walks_give_what_the_reference_gives() -> None:
    """Enter, leave, loiter and cross are exact, frame by frame, on edges and corners too, and through reloads."""
    wrong = [number for number, (walk, told) in enumerate(walks()) if not told.agrees(Reference(walk).told())]
    assert wrong == []


@pytest.mark.parametrize("naive", [{"inertia_s": 0}, {"extended": True}], ids=["no inertia", "lines without ends"])
def test_the_walks_notice_what_is_naive(naive: dict[str, float]) -> None:
    """Without inertia, or with lines that go on behind their ends, other things would come of many of the walks."""
    assert sum(not told.agrees(Reference(walk, **naive).told())             # type: ignore[arg-type]
               for walk, told in walks()[:FEWER]) > FEWER / 5


@pytest.mark.parametrize("rate", [15, 5, 1, 0.1])
def test_a_visit_at_any_rate(rate: float) -> None:
    """It is told when it counts, and counted from the first frame on that side."""
    many = max(2, int(rate)) * 10
    path, told = Path("person"), list[float]()
    for step, foot in enumerate([ABOVE] * many + [BELOW] * many + [ABOVE] * many):
        told += [step / rate] if path.move(Places(drive(), gate()), foot, 100 + step / rate) else []
    assert (path.zones, path.entered, path.left) == ([], ["drive"], ["drive"])
    assert path.crossed == [Crossing("gate", "in"), Crossing("gate", "out")]
    assert path.dwell_s(1e6)["drive"] == pytest.approx(many / rate)
    late_s = max(INERTIA_S, 1 / rate)
    assert told == [pytest.approx(begun / rate + late_s, abs=1 / rate) for begun in (many, 2 * many)]


def test_a_thing_that_flickers_at_an_edge_is_not_told() -> None:
    """Neither an edge nor a line is crossed by a box that goes to and fro within the inertia."""
    path = walked([ABOVE, BELOW, BELOW] * 100)
    assert (path.entered, path.crossed) == ([], [])
    path.finish(PLACES)
    assert (path.entered, path.crossed) == (["drive"], [Crossing("gate", "in")]), "the end leaves it there"


def test_a_short_way_out_ends_no_visit() -> None:
    """It loiters from its first frame in the zone on, although its foot was outside once."""
    path = walked([BELOW] * 20 + [ABOVE] * 2 + [BELOW] * 129)
    assert (path.loitering, path.left, path.dwell_s(130)) == (["drive"], [], {"drive": 30})
    assert walked([BELOW] * 150).loitering == []
    assert walked([BELOW] * 151 + [ABOVE] * 4).loitering == []


def test_a_box_that_the_frame_cuts_off_is_in_the_zone_at_its_edge() -> None:
    """The foot of a thing that is near lies on the lower edge of the frame; that edge belongs to the zone."""
    assert walked([(0.3, 1.0)] * 4).zones == ["drive"]
    assert walked([(1.0, 1.0)] * 4).zones == ["drive"]


def test_a_zone_that_crosses_itself_has_no_hole() -> None:
    """As with a mask, what a polygon winds around twice is inside."""
    star = [(0.5, 0.1), (0.8, 0.9), (0.1, 0.4), (0.9, 0.4), (0.2, 0.9)]
    assert walked([(0.5, 0.5)] * 4, places=Places({"star": ZoneConfig(points=tuple(star))}, {})).zones == ["star"]


def test_who_goes_around_the_end_of_a_line_does_not_cross_it() -> None:
    """What counts is the segment from one end to the other."""
    assert walked([(0.1, 0.4)] * 4 + [(0.1, 0.6)] * 4 + [ABOVE] * 4).crossed == [Crossing("gate", "out")]


@pytest.mark.parametrize("x", [0.2, 0.35, 0.5, 0.65, 0.8])
def test_lines_that_meet_end_to_end_count_a_thing_once(x: float) -> None:
    """Wherever it passes, also through the end that they share, and also if it stands there."""
    ends = [(0.0, 0.5), (0.2, 0.5), (0.5, 0.5), (0.8, 0.5), (1.0, 0.5)]
    chain = Places({}, {str(number): LineConfig.model_validate({"from": a, "to": b})
                        for number, (a, b) in enumerate(pairwise(ends))})
    for way in ([(x, 0.4)] * 4 + [(x, 0.6)] * 4, [(x, 0.4)] * 4 + [(x, 0.5)] * 4 + [(x, 0.6)] * 4):
        assert [crossing.direction for crossing in walked(way, places=chain).crossed] == ["in"]
        assert [crossing.direction for crossing in walked(way[::-1], places=chain).crossed] == ["out"]


def test_lines_that_one_step_crosses_come_in_their_order() -> None:
    """A quick thing crosses two lines between two frames; the nearer one comes first."""
    lines = gate() | {"door": LineConfig.model_validate({"from": (0.2, 0.45), "to": (0.8, 0.45)})}
    path = walked([ABOVE] * 4 + [BELOW] * 4 + [ABOVE] * 4, places=Places({}, lines))
    assert [crossing.line for crossing in path.crossed] == ["door", "gate", "gate", "door"]


def test_other_labels_do_not_count() -> None:
    """A zone and a line for cars ignore a person."""
    places = Places(drive(labels=["car"]), gate(labels=["car"]))
    way = [ABOVE] * 4 + [BELOW] * 4
    person, car = (walked(way, places=places, label=label) for label in ("person", "car"))
    assert (person.entered, person.crossed) == ([], [])
    assert (car.entered, car.crossed) == (["drive"], [Crossing("gate", "in")])


def test_a_reload_while_a_thing_is_there() -> None:
    """A zone that stays goes on, a new one is entered, and one that is gone is forgotten, but not what was."""
    path = walked([BELOW] * 160)
    assert (path.zones, path.loitering) == (["drive"], ["drive"])
    both = Places({"yard": ZoneConfig(points=DRIVE)} | drive(loiter_s=30), gate())
    assert [path.move(both, BELOW, 140 + step / 5) for step in range(4)] == [False, False, False, True]
    assert (path.zones, path.entered, path.loitering) == (["yard", "drive"], ["drive", "yard"], ["drive"])
    assert not path.move(Places({}, {}), BELOW, 150)
    assert (path.zones, path.loitering, path.entered, path.left) == ([], [], ["drive", "yard"], [])
    assert path.dwell_s(1e6) == pytest.approx({"drive": 40.6, "yard": 0.6})


def test_a_line_that_moves_over_a_thing_is_not_crossed() -> None:
    """Only a thing that moves crosses a line."""
    path = walked([BELOW] * 4)
    for step in range(8):
        path.move(Places({}, gate(**{"from": (0.2, 0.7), "to": (0.8, 0.7)})), BELOW, 110 + step)
    assert path.crossed == []


def test_a_thing_that_crosses_ten_thousand_times_takes_no_more_memory() -> None:
    """The last crossings are kept."""
    path, sizes = walked([ABOVE]), list[int]()
    for number in range(10_000):
        path.move(PLACES, (BELOW, ABOVE)[number % 2], 200 + 2 * number)
        path.move(PLACES, (BELOW, ABOVE)[number % 2], 201 + 2 * number)
        sizes += [len(pickle.dumps(path))] if number % 1000 == 999 else []
    assert path.crossed == [Crossing("gate", "in"), Crossing("gate", "out")] * (CROSSED_MAX // 2)
    assert sizes[-1] == sizes[0]


def test_a_thing_that_was_never_seen() -> None:
    """Its end tells nothing."""
    path = Path("person")
    path.finish(PLACES)
    assert (path.zones, path.entered, path.crossed, path.dwell_s(1)) == ([], [], [], {})
