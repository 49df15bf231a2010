"""What calibration pictures cover is measured, and light that costs accuracy is refused."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vedette.camera.street.stills import stills
from vedette.errors import ModelUnsupported
from vedette.types import Box, Detection
from vedette.vision.images import frame_of
from vedette.workshop.coverage import Coverage, Measured, Seen, coverage_of, seen_by, similarity_of

Picture = NDArray[np.uint8]
LABELS = ("person", "car")
HEALTH = {"schema": "vedette.health/1", "image": {"brightness": 85.0, "contrast": 40.0}, "scores": {}}


@pytest.fixture(scope="module")
def street() -> list[Picture]:
    """Twenty pictures of the drawn street, over a day and a night."""
    return [np.asarray(still.frame.pixels).copy() for still in stills(20, seed=77)]


def covered(pictures: Iterable[Picture]) -> Coverage:
    measured = []
    for picture in pictures:
        values = picture[None, ::2, ::2].astype(np.float32)
        measured.append(Measured.at(frame_of(np.ascontiguousarray(picture).data), values))
    found = [(Detection("person", 0, 0.9, Box(0, 0, 1, 1)),) * 2, *[()] * (len(measured) - 1)]
    return coverage_of(measured, found, LABELS)


def test_the_drawn_street_is_accepted(street: list[Picture]) -> None:
    """Day and night of a street are a good range; few pictures are a warning."""
    coverage = covered(street)
    assert not list(coverage.refusals())
    assert [warning.split()[:2] for warning in coverage.warnings()] == [["20", "pictures"]]
    assert coverage.brightness.deciles[0] < 70 < 110 < coverage.brightness.deciles[-1]
    assert sorted(coverage.contrast.deciles) == list(coverage.contrast.deciles)


def test_labels_are_counted_once_for_each_picture(street: list[Picture]) -> None:
    """Two persons in one picture are one picture with a person; a label that no picture shows has none."""
    assert covered(street).labels == {"person": 1, "car": 0}


def dim(picture: Picture) -> Picture:
    return (picture * 0.08).astype(np.uint8)


def faded(picture: Picture) -> Picture:
    return (picture * 0.08 + 110).astype(np.uint8)


def noise(picture: Picture) -> Picture:
    return np.random.default_rng(int(picture.sum())).integers(0, 256, picture.shape, np.uint8)


@pytest.mark.parametrize(("spoil", "word"), [(dim, "dark"), (faded, "flat"), (noise, "noise")])
def test_a_narrow_range_is_refused(street: list[Picture], spoil: Callable[[Picture], Picture], word: str) -> None:
    """The street as the darkest night shows it, the street in fog, and noise in its place: each is named."""
    refusals = list(covered(map(spoil, street)).refusals())
    assert len(refusals) == 1
    assert f"pictures are {word}" in refusals[0]


def test_one_picture_by_day_is_enough_light(street: list[Picture]) -> None:
    """The range of a calibration is that of all pictures, so many dark ones do no harm beside some by day."""
    assert not list(covered([*map(dim, street[:16]), *street]).refusals())


def test_one_picture_many_times_is_refused(street: list[Picture]) -> None:
    """The same picture again and again is one picture."""
    refusal, = covered([street[0]] * 9).refusals()
    assert "same light" in refusal


def test_neighbours_along_the_rows() -> None:
    """Stripes that run along the rows are alike; single columns are not; planes are read like channels."""
    rows, columns = np.mgrid[0:32, 0:48]
    along, across = ((axis % 2).astype(np.float32) for axis in (rows, columns))
    assert similarity_of(np.repeat(along[None, :, :, None], 3, axis=3)) == pytest.approx(1)
    assert similarity_of(np.repeat(across[None, :, :, None], 3, axis=3)) < 0
    assert similarity_of(np.repeat(across[None, None], 3, axis=1)) < 0
    assert similarity_of(np.ones((1, 8, 8, 3), np.float32)) == 1


def test_what_the_device_sees(street: list[Picture]) -> None:
    """A device within the range is no warning. Light and labels that the pictures lack are named.

    Labels that the model does not have, such as the sum of the rare ones, are not missing.
    """
    coverage = covered(street * 5)
    assert not list(coverage.warnings(seen_by([HEALTH], "health.json")))
    seen = Seen((12.0, 85.0), (40.0,), {"person": 4, "car": 2, "other": 3})
    light, labels = coverage.warnings(seen)
    assert "brightness of 12-85" in light
    assert labels.endswith("no picture shows: car")


@pytest.mark.parametrize("message", [[], {"schema": "vedette.detections/1"}, "text", None])
def test_another_message_is_refused(message: object) -> None:
    """The file must have health messages."""
    with pytest.raises(ModelUnsupported, match=r"health\.json: expected health messages"):
        seen_by([HEALTH, message], "health.json")


def test_a_brief_health_message_says_nothing(street: list[Picture]) -> None:
    """A message without the picture and the scores, and one with nulls, are no evidence."""
    brief: dict[str, Any] = {"schema": "vedette.health/1"}
    nulls = {**brief, "image": {"brightness": None, "contrast": None}, "scores": {"person": None}}
    assert seen_by([brief, nulls], "") == Seen((), (), {})


def test_the_figures_are_json(street: list[Picture], tmp_path: Path) -> None:
    """Programs get the same figures."""
    printed = json.loads(json.dumps(covered(street).plain()))
    assert printed["pictures"] == 20
    assert len(printed["brightness"]["deciles"]) == 11
