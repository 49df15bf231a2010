"""Real films: a busy road and a belt of bottles are no drift; a covered, moved or blurred camera is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from vedette.camera.brightness import light_of
from vedette.camera.child.view import ViewWatch
from vedette.camera.street.faults import EFFECTS
from vedette.drift.picture import Picture

pytestmark = pytest.mark.slow

WIDTH = 384
AFTER_S = 30


def seconds(path: Path) -> list[np.ndarray]:
    """A frame for each second of a film."""
    film = cv2.VideoCapture(str(path))
    fps = film.get(cv2.CAP_PROP_FPS)
    frames = []
    for number in range(int(film.get(cv2.CAP_PROP_FRAME_COUNT))):
        film.grab()
        if number % round(fps) == 0:
            frame = film.retrieve()[1]
            frames.append(cv2.resize(frame, (WIDTH, frame.shape[0] * WIDTH // frame.shape[1])))
    return frames


def as_is(frame: np.ndarray, number: int) -> None:
    """Leave the camera unchanged."""


def show(picture: Picture, watch: ViewWatch, frames: Iterator[np.ndarray], count: int, begin: int,
         spoil: Callable[[np.ndarray, int], None] = as_is) -> set[str]:
    """Show some seconds; returns every reported change."""
    named: set[str] = set()
    for number, frame in enumerate(islice(frames, count), begin):
        shown = frame.copy()
        spoil(shown, number)
        view = watch.measure(shown)
        if view is not None:
            picture.observe(float(number), view, light_of(shown), after_s=AFTER_S, learn_s=48 * 3600)
        named |= set(picture.changes)
    return named


@pytest.mark.parametrize("name", ["car-detection", "bottle-detection"])
def test_traffic_is_no_drift_and_a_changed_camera_is(real: Path, name: str) -> None:
    """Ten minutes of film give no reason; covered, moved and out of focus are reported within a minute and end soon
    after.
    """
    frames = cycle(seconds(real / "videos" / f"{name}.mp4"))
    picture, watch = Picture(key="film"), ViewWatch()
    assert show(picture, watch, frames, 600, 0) == set()
    now = 600
    for kind, change in (("cover", "covered"), ("move", "moved"), ("defocus", "out of focus")):
        show(picture, watch, frames, 60, now, EFFECTS[kind])
        assert picture.changes == [change]
        show(picture, watch, frames, 60, now + 60)
        assert picture.changes == []
        now += 120
