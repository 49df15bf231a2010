"""The demo's figures against a truth of a known seed, and its screen within its bounds."""

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.present import present
from tools.demo_figures import Figures
from tools.demo_screen import Lines, Screen, line_of, page
from vedette.camera.street.truth import SyntheticTruth
from vedette.messages.payloads import timestamp
from vedette.mqtt.command_filter import Incoming

FPS = 15
EPOCH = datetime(2026, 11, 21, tzinfo=UTC)


class Clock:
    """Both clocks stand still until told; frame n is captured at n / FPS of the monotonic one."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc_now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.now_ns // 1000)


@pytest.fixture(scope="module")
def truth() -> SyntheticTruth:
    return SyntheticTruth("synthetic?seed=9", 160, 90, FPS)


def told(number: int, things: list[tuple[str, tuple[float, ...]]]) -> Incoming:
    """A result of frame `number`, as the daemon says it."""
    captured_at = EPOCH + timedelta(seconds=number / FPS)
    payload = {"seq": number, "frame": {"width": 160, "height": 90, "captured_at": timestamp(captured_at)},
               "age_ms": 5.0, "timing_ms": {"invoke": 1.0}, "model": {"name": "street"}, "dropped": {"replaced": 2},
               "detections": [{"label": label, "class_id": 0, "score": 0.9, "box": box} for label, box in things]}
    return Incoming("vedette/demo/detections", json.dumps(payload).encode(), False, False, None)


def seen(truth: SyntheticTruth, number: int) -> list[tuple[str, tuple[float, ...]]]:
    return [(thing.label, (thing.box.xmin, thing.box.ymin, thing.box.xmax, thing.box.ymax))
            for thing in truth.numbered(number)]


def test_a_perfect_detector_finds_all(truth: SyntheticTruth) -> None:
    """The truth handed in as detections: recall and precision 1, whatever the milliseconds of the stamp lost."""
    clock = Clock()
    figures = Figures(truth, began_ns=0, clock=clock)
    for number in range(100, 130):
        clock.now_ns = int((number + 0.4) / FPS * 1e9)
        figures.take([told(number, seen(truth, number))])
    reading = figures.read()
    assert present(reading.hits).frames == 30
    assert (present(reading.hits).recall, present(reading.hits).precision) == (1.0, 1.0)
    assert reading.per_s == pytest.approx(FPS, rel=0.01)
    assert present(reading.latency_ms)["p50"] == pytest.approx(0.4 / FPS * 1e3, abs=1.1)


def test_misses_and_wrong_detections_are_told_apart(truth: SyntheticTruth) -> None:
    """One thing left out lowers recall, one made up lowers precision, a wrong label both."""
    things = seen(truth, 300)
    (label, box), *rest = things
    made_up = ("cone", (0.0, 0.0, 0.01, 0.01))
    for given_things, missed, wrong in ((rest, 1, 0), ([*things, made_up], 0, 1), ([(label + "?", box), *rest], 1, 1)):
        clock = Clock()
        clock.now_ns = 300 * 10**9 // FPS
        figures = Figures(truth, began_ns=0, clock=clock)
        figures.take([told(300, given_things)])
        hits = present(figures.read().hits)
        assert (hits.found, hits.missed, hits.wrong) == (len(things) - missed, missed, wrong)


def test_only_the_last_minute_counts(truth: SyntheticTruth) -> None:
    """A minute and a second later nothing of it is left but the newest result."""
    clock = Clock()
    figures = Figures(truth, began_ns=0, clock=clock)
    figures.take([told(0, [])])
    assert present(figures.read().hits).recall == 0.0
    clock.now_ns = 61 * 10**9
    reading = figures.read()
    hits = present(reading.hits)
    assert (hits.frames, hits.recall, reading.age_ms, reading.per_s) == (0, None, None, 0.0)
    assert present(reading.result)["seq"] == 0


def test_of_many_at_once_the_newest_is_judged(truth: SyntheticTruth) -> None:
    """A subscriber that is behind judges one frame, and still counts every result."""
    clock = Clock()
    clock.now_ns = 10**9
    figures = Figures(truth, began_ns=0, clock=clock)
    figures.take([told(number, seen(truth, number)) for number in range(10, 15)])
    reading = figures.read()
    assert (present(reading.hits).frames, present(reading.result)["seq"], present(reading.hits).recall) == (1, 14, 1.0)


edges = st.floats(0, 1)
boxes = st.tuples(edges, edges, edges, edges).map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]),
                                                             max(b[1], b[3])))


@given(st.lists(st.tuples(st.text(max_size=30), boxes), max_size=40))
def test_any_result_fits_the_screen(things: list[tuple[str, tuple[float, ...]]]) -> None:
    """However many boxes, wherever, and whatever their labels: 24 rows of 80 columns, and no control characters."""
    figures = Figures(None, began_ns=0, clock=Clock())
    figures.take([told(1, things)])
    reading = figures.read()
    assert len(page(reading, "film.mp4", 1883, "http://127.0.0.1:1/")) == 24
    shown, lines = StringIO(), StringIO()
    with Screen("film.mp4", 1883, "", shown) as screen, Lines("film.mp4", 1883, "", lines) as plain:
        screen.show(reading)
        plain.show(reading)
    rows = re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", shown.getvalue()).split("\n")
    assert all(len(row) <= 80 and row.isprintable() for row in rows)
    assert lines.getvalue().count("\n") == 1
    assert lines.getvalue()[:-1].isprintable()


def test_nothing_is_claimed_without_a_truth() -> None:
    """A source that nobody knows the truth of has neither recall nor precision."""
    figures = Figures(None, began_ns=0, clock=Clock())
    figures.take([told(1, [("car", (0.1, 0.1, 0.5, 0.5))])])
    assert "recall" not in line_of(figures.read())
    assert "not known" in "".join(span.text for line in page(figures.read(), "film.mp4", 1, "") for span in line)
