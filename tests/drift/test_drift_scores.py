"""When a learnt mean is frozen, and which change of the scores is a fall."""

from __future__ import annotations

import pytest

from vedette.drift.hours import HOUR_S, KEPT_HOURS, LEAST_RESULTS, Hours, Learnt
from vedette.drift.scores import OTHER, ModelScores, Terms

LEARN_S = 4 * HOUR_S


def test_a_mean_needs_enough_values_and_enough_hours() -> None:
    """It is frozen after the time of learning, and no value changes it then."""
    few, rare, good = Learnt(), Learnt(), Learnt()
    few.add(0, LEAST_RESULTS - 1, 50.0)
    rare.add(0, LEAST_RESULTS, 50.0)
    good.add(0, LEAST_RESULTS, 50.0)
    for learnt in (few, good):
        learnt.freeze(LEARN_S - 1, LEARN_S, LEAST_RESULTS)
        assert learnt.mean is None
        learnt.freeze(LEARN_S, LEARN_S, LEAST_RESULTS)
    rare.freeze(8 * HOUR_S, 8 * HOUR_S, LEAST_RESULTS)
    assert (few.mean, rare.mean, good.mean) == (None, None, 0.5)
    good.add(LEARN_S, 1000, 0.0)
    good.freeze(2 * LEARN_S, LEARN_S, LEAST_RESULTS)
    assert good.mean == 0.5


def test_seven_days_are_168_hours() -> None:
    """The value of an hour counts for 168 hours with its own, and is then gone."""
    hours = Hours()
    hours.add(0, 1, 1.0)
    assert hours.read((KEPT_HOURS - 1) * HOUR_S) == (1, 1.0, 1)
    assert hours.read(KEPT_HOURS * HOUR_S) == (0, 0.0, 0)
    hours.add((KEPT_HOURS - 1) * HOUR_S, 1, 2.0)
    assert len(hours.sums) == 2
    hours.add(KEPT_HOURS * HOUR_S, 1, 4.0)
    assert hours.read(KEPT_HOURS * HOUR_S) == (2, 6.0, 2)
    assert len(hours.sums) == 2


def sunk_at(mean: float, *, before: bool, label: str = "person") -> bool:
    """Return whether scores of this mean have fallen, if they are compared with a mean of 1."""
    scores = ModelScores(key="k", sunk=[label] if before else [])
    scores.add_scores(0, {label: (LEAST_RESULTS, LEAST_RESULTS * mean)})
    scores.evaluate(HOUR_S, Terms(HOUR_S, {label: 1.0}))
    return bool(scores.sunk)


@pytest.mark.parametrize(("mean", "begins", "goes_on"), [
    (0.89, True, True), (0.905, False, True), (0.92, False, False)])
def test_a_fall_ends_at_a_smaller_change_than_it_begins_at(mean: float, begins: bool, goes_on: bool) -> None:
    """Else it would begin and end with every hour."""
    assert sunk_at(mean, before=False) is begins
    assert sunk_at(mean, before=True) is goes_on


def test_the_mixture_of_rare_labels_never_falls() -> None:
    """Its mean depends on which labels it holds."""
    assert not sunk_at(0.1, before=False, label=OTHER)
    assert sunk_at(0.1, before=False, label="others")
