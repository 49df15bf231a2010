"""Covered, moved, out of focus, dark: reported once it lasts, ended once corrected; light and lorries are no drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drift.drift_parts import BOOT, DAYLIGHT, Site, outline
from vedette.drift.picture import ALIKE, GONE_AFTER_S, REFERENCES, likeness
from vedette.types import OUTLINE_BYTES, View

COVERED = View(0.3, 0.0, b"")
MOVED = replace(DAYLIGHT, outline=outline(7))
BLURRED = replace(DAYLIGHT, detail=200.0, focus=0.05)
CHANGES = [(COVERED, "covered"), (MOVED, "moved"), (BLURRED, "out of focus"),
           (View(90.0, 0.2, outline(8)), "covered"), (View(900.0, 0.1, outline(8)), "moved"),
           (View(900.0, 0.02, outline(8)), "out of focus")]
NAMED_AFTER_S = 60


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that has learnt its view by day."""
    one = Site(tmp_path)
    one.observe(DAYLIGHT, NAMED_AFTER_S + 5)
    assert one.watch.health()["image"]["references"] == 1
    return one


@pytest.mark.parametrize(("view", "change"), CHANGES)
def test_a_change_is_reported_after_a_minute_and_cleared_when_corrected(site: Site, view: View, change: str) -> None:
    """It is reported in the first hour already; reason and detail name the change; the view is not learnt."""
    site.observe(view, NAMED_AFTER_S - 5)
    assert site.changes == []
    site.observe(view, 15)
    assert site.changes == [change]
    assert change in site.watch.reasons()["image_drift"]
    site.observe(DAYLIGHT, int(GONE_AFTER_S) + 2)
    assert site.changes == []
    assert site.watch.reasons() == {}
    assert site.watch.health()["image"]["references"] == 1


def test_a_lorry_before_the_lens_is_not_reported(site: Site) -> None:
    """It covers the lens for half a minute, repeatedly."""
    for _ in range(20):
        site.observe(COVERED, 30)
        site.observe(DAYLIGHT, 10)
        assert site.changes == []


def test_the_time_a_change_must_last_is_configurable(site: Site) -> None:
    """`health.image_drift_after_s` is a live key."""
    site.reload(health={"image_drift_after_s": 5})
    site.observe(MOVED, 7)
    assert site.changes == ["moved"]


def dusk(into_night: float) -> View:
    """The view from daylight, 0, to night, 1: less and less similar, with less detail."""
    return View(900 - 880 * into_night, 0.5, outline(1, 0.45 * into_night))


def test_nightfall_is_learnt_gradually(site: Site) -> None:
    """A night that resembles no day is learnt step by step; later it is recognized, also after a restart."""
    assert likeness(dusk(0).outline, dusk(1).outline) > ALIKE
    for _ in range(3):
        for minute in range(30):
            site.observe(dusk(minute / 30), 10, 110 - 3 * minute)
        site.observe(dusk(1), 600, 20)
        assert site.changes == []
        for minute in range(30):
            site.observe(dusk(1 - minute / 30), 10, 20 + 3 * minute)
        assert site.changes == []
    site.stop()
    site.start(boot=BOOT)
    site.observe(dusk(1), 2 * NAMED_AFTER_S, 20)
    assert site.changes == []
    assert site.watch.health()["image"]["references"] <= REFERENCES


def test_a_night_without_light_is_no_cover(site: Site) -> None:
    """Detail that gradually fades to nothing is learnt, and the morning is recognized."""
    for detail in (900, 500, 280, 150, 80, 45, 25, 12, 6):
        site.observe(replace(DAYLIGHT, detail=float(detail)), 40, 10 + detail / 10)
    site.observe(COVERED, 3600, 5.0)
    assert site.changes == []
    for detail in (6, 20, 100, 400, 900):
        site.observe(replace(DAYLIGHT, detail=float(detail)), 40, 10 + detail / 10)
    assert site.changes == []
    site.observe(COVERED, 2 * NAMED_AFTER_S, 60.0)      # a bright flat one is another thing
    assert site.changes == ["covered"]


def test_a_camera_that_is_moved_by_night_is_reported_in_the_morning(site: Site) -> None:
    """A dark night hides the change; the day shows it."""
    for detail in (900, 400, 150, 60, 25, 10):
        site.observe(replace(DAYLIGHT, detail=float(detail)), 40, 10 + detail / 10)
    site.observe(COVERED, 600, 5.0)
    for detail in (10, 100, 900):
        site.observe(replace(MOVED, detail=float(detail)), 40, 10 + detail / 10)
    assert site.changes == ["moved"]


def test_in_the_first_days_a_new_view_that_holds_an_hour_is_learnt(site: Site) -> None:
    """A lamp that is switched on is a sudden change: it is reported for an hour, then never again."""
    lit = replace(DAYLIGHT, outline=outline(9))
    site.observe(lit, 3000)
    assert site.changes == ["moved"]
    site.observe(lit, 700)
    assert site.changes == []
    site.observe(DAYLIGHT, 100)
    site.observe(lit, 200)
    assert site.changes == []


def test_later_a_new_view_is_reported_until_relearn(site: Site) -> None:
    """Days later a new view stays reported, over a restart, until `relearn`."""
    site.run(72)
    site.observe(MOVED, 2 * 3600)
    assert site.changes == ["moved"]
    site.stop()
    site.start(boot="another")
    assert site.changes == ["moved"]
    site.observe(MOVED, 100)
    assert site.changes == ["moved"]
    site.watch.relearn("picture")
    assert site.changes == []
    site.observe(MOVED, 2 * NAMED_AFTER_S)
    assert site.changes == []
    site.observe(DAYLIGHT, 2 * NAMED_AFTER_S)
    assert site.changes == ["moved"]


def test_a_camera_that_is_still_moved_learns_nothing(tmp_path: Path) -> None:
    """The first view is learnt once it holds still."""
    site = Site(tmp_path)
    for place in range(40):
        site.observe(replace(DAYLIGHT, outline=outline(place)), 5)
    assert site.watch.health()["image"]["references"] == 0
    site.observe(DAYLIGHT, NAMED_AFTER_S + 2)
    assert site.watch.health()["image"]["references"] == 1
    assert site.changes == []


def test_another_source_is_learnt_again(site: Site) -> None:
    """Another camera, rotation or mask gives another view, and is no drift."""
    site.run(60)
    site.stop()
    site.reload(camera={"source": "rtsp://other/1"})
    site.start()
    site.observe(MOVED, 2 * NAMED_AFTER_S)
    assert site.changes == []


def day_light(site: Site, hours: int, noon: float, *, focus: float = 0.5, contrast: float = 40.0) -> None:
    """Let some hours pass, bright from 6 to 20 only."""
    for _ in range(hours):
        lit = 6 <= site.hours % 24 < 20
        site.camera.show(replace(DAYLIGHT, focus=focus), noon if lit else 12.0, contrast if lit else 8.0)
        site.hour()


def test_a_dark_day_is_reported(site: Site) -> None:
    """Nights and a dull day are no loss of light; a lens that went dark is, until it has been bright for a while."""
    day_light(site, 4 * 24, 110.0)
    day_light(site, 3 * 24, 70.0)
    assert site.changes == []
    day_light(site, 26, 40.0)
    assert site.changes == ["dark"]
    day_light(site, 26, 100.0)
    assert site.changes == []


def test_gradual_loss_of_contrast_and_focus_is_reported(site: Site) -> None:
    """A lens gets dirty over weeks without a sudden change, and is reported."""
    day_light(site, 3 * 24, 110.0)
    for day in range(20):
        day_light(site, 24, 110.0, focus=0.5 * 0.92 ** day, contrast=40 * 0.96 ** day)
    assert site.changes == ["out of focus", "flat"] or set(site.changes) == {"out of focus", "flat"}


@given(st.binary(min_size=OUTLINE_BYTES, max_size=OUTLINE_BYTES),
       st.binary(min_size=OUTLINE_BYTES, max_size=OUTLINE_BYTES))
def test_similarity_is_a_correlation(one: bytes, other: bytes) -> None:
    """It is symmetric, from -1 to 1; of an outline with itself it is 1 (of an empty one 0)."""
    assert likeness(one, other) == pytest.approx(likeness(other, one))
    assert -1.000001 <= likeness(one, other) <= 1.000001
    halves = one[:OUTLINE_BYTES // 2], one[OUTLINE_BYTES // 2:]
    assert likeness(one, one) == pytest.approx(float(all(any(half) for half in halves)))
