"""A week and more in fast-forward: falling scores are reported on the right day, and similar harmless changes are not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.drift.drift_parts import BOOT, Site
from vedette.types import Box

DAY, LEARN_DAYS = 24, 2


def fallen_by(share: float, over_days: float, from_day: float = LEARN_DAYS) -> Callable[[float], float]:
    """Return scores that fall by a share, evenly over some days from a day on, and then stay."""
    def level(day: float) -> float:
        return 0.8 * (1 - share * min(1.0, max(0.0, (day - from_day) / over_days)))
    return level


def step(share: float, at_day: float) -> Callable[[float], float]:
    return fallen_by(share, 1e-9, at_day)


def right_day(level: Callable[[float], float], days: float) -> float | None:
    """Return the days after which the mean of the last 168 hours is more than 10 % below that of the first 48."""
    hours = [level(hour / DAY) for hour in range(round(days * DAY))]
    baseline = sum(hours[:48]) / 48
    for now in range(48, len(hours)):
        week = hours[max(0, now - 167):now + 1]
        if sum(week) / len(week) < 0.9 * baseline:
            return (now + 1) / DAY
    return None


def first_reported(site: Site, days: float, code: str = "score_drift") -> float | None:
    """Run; returns the first day with the reason."""
    for hour in range(round(days * DAY)):
        site.hour()
        if code in site.watch.reasons():
            return (hour + 1) / DAY
    return None


@pytest.mark.parametrize("shape", [
    pytest.param(step(0.12, 3), id="a step"),
    pytest.param(step(0.30, 5), id="a large step"),
    pytest.param(step(0.12, 12), id="a step later"),
    pytest.param(fallen_by(0.12, 7), id="by and by over a week"),
    pytest.param(fallen_by(0.12, 7, 9), id="by and by, later"),
    pytest.param(fallen_by(0.12, 21), id="over three weeks"),
])
def test_scores_that_fall_by_more_than_a_tenth_are_reported_on_the_right_day(
        tmp_path: Path, shape: Callable[[float], float]) -> None:
    """At exactly the hour of the definition: the mean of seven days is a tenth below the learnt one."""
    expected = right_day(shape, 40)
    assert expected is not None
    site = Site(tmp_path, scores=lambda day: {"person": shape(day)})
    assert first_reported(site, expected + 1) == pytest.approx(expected, abs=1.5 / DAY)
    assert "person: 0.7" in site.watch.reasons()["score_drift"] or "person: 0.6" in site.watch.reasons()["score_drift"]


@pytest.mark.parametrize("shape", [step(0.08, 3), fallen_by(0.08, 7), step(0.098, 2), step(0, 0), step(-0.3, 4)])
def test_scores_that_fall_by_less_are_not_reported(tmp_path: Path, shape: Callable[[float], float]) -> None:
    """A fall by 8 % or 9.8 %, no change, or a rise is not reported in two weeks."""
    assert right_day(shape, 21) is None
    site = Site(tmp_path, scores=lambda day: {"person": shape(day)})
    assert first_reported(site, 14) is None
    label = site.watch.health()["labels"]["person"]
    assert label["baseline"] == pytest.approx(0.8, abs=0.005)


def test_one_bad_day_is_no_drift_and_a_recovered_model_ends_it(tmp_path: Path) -> None:
    """One day at five eighths of the score is less than a tenth of a week; once scores are back, the reason ends."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.5 if 4 <= day < 5 else 0.8})
    assert first_reported(site, 14) is None
    site.scores = lambda day: {"person": 0.6 if day < 20 else 0.8}
    assert first_reported(site, 6) is not None
    site.run(8 * DAY)
    assert "score_drift" not in site.watch.reasons()


def test_only_the_label_that_falls_is_named(tmp_path: Path) -> None:
    """The detail has this label's name and figures and no other label's."""
    shape = step(0.15, 3)
    site = Site(tmp_path, scores=lambda day: {"person": 0.8, "dog": shape(day), "car": 0.7})
    assert first_reported(site, 14) == pytest.approx(right_day(shape, 14), abs=1.5 / DAY)
    words = site.watch.reasons()["score_drift"]
    assert words.startswith("dog: 0.7")
    assert "person" not in words
    assert "car" not in words


def test_few_results_give_no_decision(tmp_path: Path) -> None:
    """One dog a day gives no mean, and neither does a crowd within two hours of the week."""
    site = Site(tmp_path, per_hour=1,
                scores=lambda day: {"dog": 0.9 if day < 4 else 0.5} if day * DAY % DAY < 1 else {})
    assert first_reported(site, 21) is None
    crowd = Site(tmp_path / "crowd", per_hour=500,
                 scores=lambda day: {"person": 0.9 if day < 4 else 0.5} if day * DAY % (7 * DAY) < 2 else {})
    assert first_reported(crowd, 21) is None


def test_nights_without_results_change_nothing(tmp_path: Path) -> None:
    """Results by day only give the same decision, on the day that the results determine."""
    shape = step(0.12, 3)
    by_day = Site(tmp_path, scores=lambda day: {"person": shape(day)} if 6 <= day * DAY % DAY < 20 else {})
    named = first_reported(by_day, 14)
    assert named == pytest.approx(right_day(shape, 14), abs=0.6)
    steady = Site(tmp_path / "steady", scores=lambda day: {"person": 0.8} if 6 <= day * DAY % DAY < 20 else {})
    assert first_reported(steady, 14) is None


def test_night_scores_that_are_always_lower_are_no_drift(tmp_path: Path) -> None:
    """A mean learnt over whole days is compared with whole days."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.85 if 6 <= day * DAY % DAY < 20 else 0.55})
    assert first_reported(site, 21) is None


@pytest.mark.parametrize("restart_day", [1.0, 2.5, 5.0])
def test_a_restart_and_steps_of_the_clock_change_nothing(tmp_path: Path, restart_day: float) -> None:
    """Restarts in the middle, a reboot, and a wall clock that jumps by ten years: the same day."""
    shape = step(0.12, 3)
    site = Site(tmp_path, scores=lambda day: {"person": shape(day)})
    site.run(round(restart_day * DAY))
    site.stop()
    site.clock.epoch = site.clock.epoch.replace(year=2036)
    site.start()
    site.run(DAY // 2)
    assert ("score_drift" in site.watch.reasons()) is False
    site.stop()
    site.start(boot="another boot")
    site.clock.epoch = site.clock.epoch.replace(year=1999)
    passed = restart_day + 0.5
    named = first_reported(site, 12)
    assert named is not None
    assert passed + named == pytest.approx(right_day(shape, 14), abs=2 / DAY)


def test_time_without_power_does_not_count(tmp_path: Path) -> None:
    """After a month without power: the seven days are days of detection, and the learnt mean stays."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8})
    site.run(3 * DAY)
    before = site.watch.health()["labels"]["person"]
    site.stop()
    site.start(boot="a month later")
    assert site.watch.health()["labels"]["person"] == before
    assert site.watch.health()["learning_hours"] is None


def test_each_model_has_its_own_learnt_scores(tmp_path: Path) -> None:
    """A new model with lower scores is not drift; after a rollback the old values continue; its drift is reported."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8})
    site.run(4 * DAY)
    site.model, site.scores = "b" * 64, lambda day: {"person": 0.6}
    assert first_reported(site, 4) is None
    assert site.watch.health()["labels"]["person"]["baseline"] == pytest.approx(0.6, abs=0.005)
    site.model, site.scores = "a" * 64, lambda day: {"person": 0.68}
    site.run(1)
    assert site.watch.health()["labels"]["person"]["baseline"] == pytest.approx(0.8, abs=0.005)
    assert first_reported(site, 14) is not None


def test_other_thresholds_are_learnt_again(tmp_path: Path) -> None:
    """A lower threshold admits weaker results: the operator caused that, so it is not drift."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8})
    site.run(4 * DAY)
    site.reload(detector={"score_threshold": 0.3})
    site.scores = lambda day: {"person": 0.6}
    assert first_reported(site, 14) is None


def test_another_region_is_learnt_again_from_its_first_frame_on(tmp_path: Path) -> None:
    """Things in it may look weaker: that is no drift. The frame of the old region that was under way counts there."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8})
    site.run(4 * DAY)
    site.reload(camera={"roi": [0.5, 0, 1, 1]})
    site.see("person", 0.1, 1)
    site.roi = Box(0.5, 0, 1, 1)
    site.see("person", 0.6, 1)
    site.watch.step()
    assert site.watch.health()["labels"]["person"] == {"mean": 0.6, "baseline": None, "count": 1}
    site.scores = lambda day: {"person": 0.6}
    assert first_reported(site, 14) is None


def test_a_bundles_baseline_holds_from_the_first_day_on(tmp_path: Path) -> None:
    """With `health.baseline: bundle` no scores are learnt, and a label that the bundle lacks is not evaluated."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.7, "dog": 0.2}, health={"baseline": "bundle"},
                bundled={"person": 0.8})
    assert first_reported(site, 2) == pytest.approx(25 / DAY, abs=1.5 / DAY)      # a hundred results
    assert "dog" not in site.watch.reasons()["score_drift"]
    site.reload(health={"baseline": "learnt"})
    site.run(1)
    assert "score_drift" not in site.watch.reasons()


def changing(later_ms: float, day: float) -> float:
    """Milliseconds of an invoke: 30 for three days, then others."""
    return 30.0 if day < 3 else later_ms


def test_a_model_that_gets_slower_is_reported(tmp_path: Path) -> None:
    """A model more than a fifth slower in the mean of seven days is reported; 15 % is not, and faster never is."""
    slow = Site(tmp_path, scores=lambda day: {}, invoke_ms=lambda day: 30.0 if day < 3 else 40.0)
    assert first_reported(slow, 14, "latency_drift") == pytest.approx(3 + 4.2, abs=0.1)
    for number, later_ms in enumerate((34.0, 20.0)):
        site = Site(tmp_path / str(number), scores=lambda day: {}, invoke_ms=partial(changing, later_ms))
        assert first_reported(site, 14, "latency_drift") is None


def test_times_at_a_governed_rate_do_not_count(tmp_path: Path) -> None:
    """A model that is slow on hot days only, at a governed rate, has no drift; its scores still count."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8 if day < 3 else 0.6},
                invoke_ms=lambda day: 30.0 if day < 3 else 60.0)
    site.run(3 * 24)
    site.governed = True
    site.run(7 * 24)
    assert set(site.watch.reasons()) == {"score_drift"}


def test_relearn_starts_the_scores_again(tmp_path: Path) -> None:
    """`relearn` ends the reason; the learnt picture stays."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8 if day < 3 else 0.6})
    assert first_reported(site, 14) is not None
    references = site.watch.health()["image"]["references"]
    assert references
    site.watch.relearn("scores")
    assert "score_drift" not in site.watch.reasons()
    assert site.watch.health()["image"]["references"] == references
    assert first_reported(site, 14) is None
    site.stop()
    site.start(boot=BOOT)
    assert site.watch.health()["labels"]["person"]["baseline"] == pytest.approx(0.6, abs=0.005)


def test_reading_the_figures_does_not_wait_for_the_bundle(tmp_path: Path) -> None:
    """Reading the figures waits for no file: a model may be large, and its card slow."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8}, bundled={"person": 0.5})
    site.run(1)
    site.reload(health={"baseline": "bundle"})
    assert site.watch.health()["labels"]["person"]["baseline"] is None
    assert site.watch.reasons() == {}
    site.run(1)
    assert site.watch.health()["labels"]["person"]["baseline"] == 0.5


def test_times_between_still_frames_do_not_count(tmp_path: Path) -> None:
    """A processor that rests while nothing moves is slow for a moment, and the model is not."""
    site = Site(tmp_path, invoke_ms=lambda day: 30.0 if day < 3 else 60.0)
    site.run(3 * 24)
    site.rests = True
    site.run(7 * 24)
    assert not site.watch.reasons()
