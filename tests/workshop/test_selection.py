"""A full collection gives up what it has most of: brightness, labels, times."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vedette.workshop.selection import PARTS, Picture, given_up, tenth

PLAIN = Picture("", 1000, 100.0, ("car",), False, 0, 192, 108, 0.0)


def collected(frames: list[Picture], room: int) -> tuple[list[Picture], list[float]]:
    """Offer frames one after another; returns what stays, and the brightness of all, sorted."""
    kept, shown = list[Picture](), list[float]()
    for number, frame in enumerate(frames):
        insort(shown, frame.brightness)
        kept.append(replace(frame, name=str(number)))
        if len(kept) > room:
            kept.remove(given_up(kept, shown))
    return kept, shown


def day(count: int, chance: np.random.Generator) -> list[Picture]:
    """A day from eight in the morning on: half of it is dark, and sometimes a car comes, or one that is doubtful."""
    hours = (8 + np.arange(count) * 24 / count) % 24
    light = 20 + 130 * np.clip(np.sin((hours - 6) / 12 * np.pi), 0, None) ** 0.5
    return [replace(PLAIN, brightness=float(level), part=number * PARTS // count,
                    labels=("car",) if visit < 0.1 else (), doubtful=visit < 0.03)
            for number, (level, visit) in enumerate(zip(light + chance.normal(0, 2, count), chance.random(count),
                                                        strict=True))]


def test_a_day_is_spread_over_brightness_time_labels_and_doubt() -> None:
    """Each tenth of the day's brightness has its share, each hour is there, and what is rare is more frequent."""
    frames = day(2000, np.random.default_rng(5))
    kept, shown = collected(frames, 100)
    tenths = Counter(tenth(each.brightness, shown) for each in kept)
    assert [tenths[each] for each in range(10)] == pytest.approx([10] * 10, abs=2)
    assert {each.part for each in kept} == set(range(PARTS))
    assert max(Counter(each.part for each in kept).values()) <= 10
    for has in (lambda each: each.doubtful, lambda each: bool(each.labels)):
        assert sum(map(has, kept)) / len(kept) > 2 * sum(map(has, frames)) / len(frames)
    assert sum(not each.labels for each in kept) > 20
    levels = [each.brightness for each in frames]
    assert {min(levels), max(levels)} <= {each.brightness for each in kept}


def test_a_camera_that_always_shows_the_same() -> None:
    """All have one brightness: then labels and time decide."""
    frames = [replace(PLAIN, part=number // 10, labels=("dog",) if number == 3 else ("car",)) for number in range(100)]
    kept, _ = collected(frames, 12)
    assert sum("dog" in each.labels for each in kept) == 1
    assert {each.part for each in kept} == set(range(10))


def test_pictures_of_another_size_go_first() -> None:
    """After a model with another input they are the ones to give up, the oldest first."""
    pictures = [replace(PLAIN, name="a", width=320, labels=("dog",)), replace(PLAIN, name="b"),
                replace(PLAIN, name="c", width=320), replace(PLAIN, name="d")]
    assert given_up(pictures, [100.0]).name == "a"
    assert given_up(pictures[1:], [100.0]).name == "c"
    assert given_up(pictures[2:3], []).name == "c"
