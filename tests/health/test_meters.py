"""Laws and examples of the meters."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import FakeClock, make_frame
from vedette.health.meters import METERED_LABELS, OTHER, PUBLISHED_LABELS, WINDOW, FrameMeters, percentiles, rate_per_s
from vedette.types import Box, Detection, DetectionResult, ModelRef, Timing

BOX = Box(0.0, 0.0, 0.5, 0.5)
SECOND = 1_000_000_000


def result(*found: tuple[str, float | None], timing: Timing | None = None, age_ms: float = 20.0) -> DetectionResult:
    detections = tuple(Detection(label, None, score, BOX) for label, score in found)
    return DetectionResult(make_frame(FakeClock()), detections, None, "local", timing or Timing(1, 2, 3, 4), age_ms)


@given(st.lists(st.integers(0, 10_000).map(float), min_size=1, max_size=600))
def test_percentiles_by_nearest_rank(values: list[float]) -> None:
    """A percentile is the smallest value that at least so many percent of the values do not exceed."""
    measured = percentiles(values)
    assert measured is not None
    for percent, value in ((50, measured["p50"]), (95, measured["p95"]), (99, measured["p99"])):
        covered = [sum(other <= candidate for other in values) * 100 >= percent * len(values)
                   for candidate in sorted(values)]
        assert value == sorted(values)[covered.index(True)]


def test_without_a_result_every_percentile_is_null() -> None:
    """Before the first result every percentile is null and nothing is counted."""
    readings = FrameMeters(FakeClock()).read()
    assert readings.age_ms is None
    assert readings.timing_ms == {"wait": None, "prepare": None, "invoke": None, "decode": None, "track": None}
    assert (readings.count, readings.per_s, readings.scores) == (0, 0.0, {})


def test_each_stage_has_its_own_percentiles() -> None:
    """Stages and age are not mixed up, and only the last results count."""
    meters = FrameMeters(FakeClock())
    meters.on_result(result(age_ms=999.0))
    for _ in range(WINDOW):
        meters.on_result(result(timing=Timing(1.0, 2.0, 3.0, 4.0, 6.0), age_ms=5.0))
    readings = meters.read()
    timing_ms = readings.timing_ms
    stages = (timing_ms["wait"], timing_ms["prepare"], timing_ms["invoke"], timing_ms["decode"], readings.age_ms,
              timing_ms["track"])
    assert [stage["p99"] for stage in stages if stage] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert readings.count == WINDOW + 1


@given(st.lists(st.floats(0, 1), min_size=1))
def test_score_distribution_keeps_every_score(scores: list[float]) -> None:
    """Count, mean and histogram describe exactly the scores recorded; a score of 1 is in the last bin."""
    meters = FrameMeters(FakeClock())
    for score in scores:
        meters.on_result(result(("person", score)))
    read = meters.read().scores["person"]
    assert read["count"] == sum(read["histogram"]) == len(scores)
    assert read["mean"] == pytest.approx(sum(scores) / len(scores), abs=0.0006)
    assert read["histogram"][9] == sum(int(score * 10) >= 9 for score in scores)


def test_labels_are_bounded_and_every_detection_is_counted() -> None:
    """However many labels a source has, few are published, the frequent ones by name, and the sum is right."""
    meters = FrameMeters(FakeClock())
    for number in range(METERED_LABELS + 50):
        meters.on_result(result((f"label {number}", 0.5), ("person", 0.9)))
    scores = meters.read().scores
    assert len(scores) == PUBLISHED_LABELS + 1
    assert scores["person"]["count"] == METERED_LABELS + 50
    assert list(scores)[-1] == OTHER
    assert sum(score["count"] for score in scores.values()) == 2 * (METERED_LABELS + 50)


def test_detections_without_score_have_no_distribution() -> None:
    """A source without scores has no distribution."""
    meters = FrameMeters(FakeClock())
    meters.on_result(result(("motion", None)))
    assert meters.read().scores == {}


@pytest.mark.parametrize("per_s", [0.5, 4, 30, 240])
def test_rate_of_a_steady_source(per_s: float) -> None:
    """The rate is right for slow and fast sources, the newest event being now."""
    times_ns = [int(n * SECOND / per_s) for n in range(WINDOW)]
    assert rate_per_s(times_ns, times_ns[-1]) == pytest.approx(per_s, rel=0.01)


def test_rate_falls_without_events() -> None:
    """Without events the rate falls, to 0 after the window."""
    times_ns = [n * SECOND // 10 for n in range(100)]
    rates = [rate_per_s(times_ns, times_ns[-1] + wait * SECOND) for wait in (0, 2, 5, 11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


def test_read_while_recording() -> None:
    """Another thread may read at any moment: the figures of every reading add up."""
    meters = FrameMeters(FakeClock())

    def record() -> None:
        for number in range(3000):
            meters.on_result(result((f"label {number % 40}", 0.5)))

    thread = threading.Thread(target=record)
    thread.start()
    while thread.is_alive():
        readings = meters.read()
        assert sum(score["count"] for score in readings.scores.values()) == readings.count
    assert meters.read().count == 3000


def test_a_new_model_starts_a_new_distribution() -> None:
    """Times and scores of two models are never in one distribution; the number of results continues."""
    meters = FrameMeters(FakeClock())
    old, new = ModelRef("street", "3", "ab" * 32), ModelRef("street", "4", "cd" * 32)
    for model, score, invoke_ms in ((old, 0.2, 3.0), (new, 0.9, 7.0)):
        meters.on_result(replace(result(("person", score), timing=Timing(1, 2, invoke_ms, 4)), model=model))
    readings = meters.read()
    assert (readings.count, readings.scores["person"]["mean"]) == (2, 0.9)
    assert readings.timing_ms["invoke"] == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
