"""The view of the camera: the same by day, by night, in rain and with traffic; another after it was turned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vedette.camera.child.view import KEPT, LEAST_DETAIL, ViewWatch
from vedette.camera.street.faults import EFFECTS
from vedette.camera.street.scene import DAY_S, Scene
from vedette.types import OUTLINE_BYTES, View

SIZE = (320, 180)
HOURS = 6


def brighter(picture: np.ndarray, number: int) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=1 + number / 50).astype(np.uint8)


def likeness(one: bytes, other: bytes) -> float:
    """Return the smaller correlation of the two halves."""
    a, b = (np.frombuffer(each, np.int8).astype(float).reshape(2, -1) for each in (one, other))
    return min(float((x @ y) / (np.linalg.norm(x) * np.linalg.norm(y))) for x, y in zip(a, b, strict=True))


def view_of(scene: Scene, first: int, fault: str | None = None) -> View:
    """Return the view after `KEPT` pictures, a second apart."""
    watch = ViewWatch()
    picture = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    seen = None
    for number in range(first, first + KEPT):
        scene.render(number, picture)
        if fault:
            EFFECTS[fault](picture, number)
        seen = watch.measure(picture)
    assert seen is not None
    return seen


@pytest.fixture(scope="module", params=[11])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param, *SIZE, 1.0)


@pytest.fixture(scope="module")
def day(scene: Scene) -> list[View]:
    return [view_of(scene, round(hour * DAY_S / HOURS)) for hour in range(HOURS)]


def test_a_day_is_one_view(day: list[View]) -> None:
    """Noon and night resemble each other, in outline and in focus."""
    assert {len(view.outline) for view in day} == {OUTLINE_BYTES}
    assert min(likeness(a.outline, b.outline) for a in day for b in day) > 0.45
    assert min(view.focus for view in day) > 0.45 * max(view.focus for view in day)
    assert min(view.detail for view in day) > 10 * LEAST_DETAIL


def test_another_view_is_another_at_any_hour(scene: Scene, day: list[View]) -> None:
    """After a turn, the view resembles no hour of the view before."""
    for first in (0, 60, 120):
        moved = view_of(scene, first, "move")
        assert max(likeness(moved.outline, view.outline) for view in day) < 0.3


def test_rain_is_the_same_view(scene: Scene, day: list[View]) -> None:
    """Haze, and streaks at new positions in each picture, change little."""
    for first in (0, 60, 120):
        wet = view_of(scene, first, "rain")
        assert max(likeness(wet.outline, view.outline) for view in day) > 0.6
        assert wet.focus > 0.5 * min(view.focus for view in day)


def test_out_of_focus_only_what_is_fine_is_lost(scene: Scene, day: list[View]) -> None:
    """The outline stays. The focus falls below a third of the lowest of any hour."""
    blurred = view_of(scene, 60, "defocus")
    assert max(likeness(blurred.outline, view.outline) for view in day) > 0.6
    assert blurred.focus < 0.3 * min(view.focus for view in day)


def test_covered_there_is_nothing_to_recognize(scene: Scene) -> None:
    """A cloth before the lens has no lasting detail, with or without noise."""
    covered = view_of(scene, 60, "cover")
    assert (covered.outline, covered.focus) == (b"", 0.0)
    assert covered.detail < LEAST_DETAIL


def test_a_change_of_size_starts_the_measurement_again() -> None:
    """Pictures of two sizes are never compared."""
    watch = ViewWatch()
    rng = np.random.default_rng(1)
    large = cv2.GaussianBlur(rng.integers(0, 255, (90, 160, 3), np.uint8), (0, 0), 3)
    small = np.ascontiguousarray(large[:45, :80])
    for picture in (large, small):
        seen = [watch.measure(brighter(picture, number)) for number in range(KEPT)]
        assert [view is None for view in seen] == [True] * (KEPT - 1) + [False]


@pytest.mark.parametrize(("width", "height"), [(33, 5), (16, 16), (1920, 1080)])
def test_any_size_is_measured(width: int, height: int) -> None:
    """A picture may have any size."""
    watch = ViewWatch()
    picture = np.random.default_rng(1).integers(0, 200, (height, width, 3), np.uint8)
    seen = [watch.measure(brighter(picture, number)) for number in range(KEPT)][-1]
    assert seen is not None
    assert len(seen.outline) == OUTLINE_BYTES


def test_a_flat_picture_with_one_lamp_has_an_outline_of_numbers() -> None:
    """In a flat area the mean of squares comes out slightly below 0. There is no warning about its root."""
    chance = np.random.default_rng(0)
    for _ in range(300):
        watch = ViewWatch()
        for number in chance.integers(0, 16, KEPT):
            picture = np.full((128, 128, 3), 8 + number % 5, np.uint8)
            picture[32:64, 32 * (number // 4):32 * (number // 4) + 32] = 255
            watch.measure(picture)


def test_a_picture_that_repeats_itself_is_not_measured_again() -> None:
    """Its noise is the same each time and would count as fine detail. A covered camera may have no noise at all."""
    watch = ViewWatch()
    rng = np.random.default_rng(3)
    street = cv2.GaussianBlur(rng.integers(0, 60, (180, 320, 3), np.uint8), (0, 0), 4)
    noisy = [cv2.add(street, rng.integers(0, 40, street.shape, np.uint8)).astype(np.uint8) for _ in range(KEPT + 5)]
    live = [watch.measure(picture) for picture in noisy][-1]
    assert live is not None
    assert [watch.measure(noisy[-1]) for _ in range(KEPT)] == [None] * KEPT
    again = watch.measure(noisy[0])
    assert again is not None
    assert again.focus == pytest.approx(live.focus, rel=0.2)
    covered = [watch.measure(np.full_like(street, 9)) for _ in range(KEPT)][-1]
    assert covered is not None
    assert covered.outline == b""
