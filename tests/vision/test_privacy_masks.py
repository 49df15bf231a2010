"""Privacy masks: every pixel inside any polygon is black, by a reference that asks each pixel's centre alone."""

from __future__ import annotations

import math
import random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.daemon.cameras import make_settings
from tests.support.daemon.still_source import Still
from tests.support.present import present
from tests.support.truth.winding import turns_around
from vedette.camera.child.shape import Shaper
from vedette.fallback.cloud_picture import redacted_jpeg
from vedette.types import Box
from vedette.vision.privacy_masks import PrivacyMasks, hidden_pixels

Polygon = tuple[tuple[float, float], ...]
WHITE = 200
UNIT = st.one_of(st.floats(0, 1), st.sampled_from((0.0, 0.25, 0.5, 1.0)))
POLYGONS = st.lists(st.lists(st.tuples(UNIT, UNIT), min_size=3, max_size=8).map(tuple), min_size=1, max_size=4)
PENTAGRAM: Polygon = tuple((0.5 + 0.45 * math.sin(angle), 0.5 - 0.45 * math.cos(angle))
                           for angle in (turn * 4 * math.pi / 5 for turn in range(5)))
LEFT: Polygon = ((0.1, 0.1), (0.6, 0.1), (0.6, 0.9), (0.1, 0.9))
RIGHT: Polygon = ((0.4, 0.2), (0.9, 0.2), (0.9, 0.8), (0.4, 0.8))


def uncovered(polygons: list[Polygon], black: np.ndarray) -> list[tuple[int, int]]:
    """Return the pixels (x, y) that are not black although their centre lies inside a polygon."""
    height, width = black.shape
    return [(x, y) for y, x in np.argwhere(~black)
            if any(turns_around(polygon, (x + 0.5) / width, (y + 0.5) / height) for polygon in polygons)]


def from_the_camera(polygons: list[Polygon], width: int, height: int) -> np.ndarray:
    """Return which pixels of a frame from the capture child are black."""
    settings_ = make_settings("x", width=width, height=height, masks=tuple(polygons))
    slot = np.full(settings_.slot_bytes, WHITE, np.uint8)
    source = np.full((height, width, 3), WHITE, np.uint8)
    return np.asarray(~Shaper(settings_).read(Still(source), slot).any(axis=2))


def to_the_cloud(polygons: list[Polygon], width: int, height: int, roi: Box) -> np.ndarray:
    """Return the sent picture, decoded and grey."""
    frame = np.full((height, width, 3), WHITE, np.uint8)
    sent = redacted_jpeg(frame.data, 100_000, roi=roi, masks=polygons)
    return present(cv2.imdecode(np.frombuffer(sent.content, np.uint8), cv2.IMREAD_GRAYSCALE))


@settings(max_examples=60, deadline=None)
@given(POLYGONS, st.integers(1, 24), st.integers(1, 24))
def test_no_pixel_inside_any_polygon_is_uncovered(polygons: list[Polygon], width: int, height: int) -> None:
    """This holds for polygons that overlap, cross themselves, touch the border or have no area."""
    assert uncovered(polygons, hidden_pixels(polygons, width, height)) == []


@pytest.mark.slow
def test_a_thousand_random_mask_sets_leave_no_pixel_open() -> None:
    """Each set goes through the capture child's shaper, where snapshot, drift, frame tap and golden frames begin."""
    draw = random.Random(7)
    for _ in range(1000):
        width, height = draw.randint(4, 12), draw.randint(4, 12)
        polygons = [tuple((draw.random(), draw.random()) for _ in range(draw.randint(3, 9)))
                    for _ in range(draw.randint(1, 4))]
        assert uncovered(polygons, from_the_camera(polygons, width, height)) == [], (polygons, width, height)


@pytest.mark.parametrize("polygons", [[PENTAGRAM], [LEFT, RIGHT], [LEFT, LEFT], [RIGHT, PENTAGRAM, LEFT]],
                         ids=["pentagram", "overlap", "twice", "three"])
def test_a_crossing_or_an_overlap_stays_black_in_every_frame(polygons: list[Polygon]) -> None:
    """The centre of a pentagram and the overlap of two masks are black in the frame and in what the cloud gets."""
    black = from_the_camera(polygons, 80, 60)
    assert uncovered(polygons, black) == []
    for roi in (Box(0, 0, 1, 1), Box(0.2, 0.1, 0.8, 0.9)):
        sent = to_the_cloud(polygons, 80, 60, roi)
        left, top = round(roi.xmin * 80), round(roi.ymin * 60)
        expected = black[top:top + sent.shape[0], left:left + sent.shape[1]]
        deep = cv2.erode(expected.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1).astype(bool)
        assert deep.any()
        assert sent[deep].max() < WHITE // 4
        clear = cv2.dilate(expected.astype(np.uint8), np.ones((19, 19), np.uint8)) == 0
        assert (sent[clear] > WHITE - 30).all()


@settings(max_examples=30, deadline=None)
@given(POLYGONS, st.integers(8, 24), st.integers(8, 24))
def test_the_rest_of_the_frame_stays(polygons: list[Polygon], width: int, height: int) -> None:
    """A pixel is hidden only if a polygon contains a point within two pixels of it, or passes there."""
    hidden = hidden_pixels(polygons, width, height)
    for y, x in np.argwhere(hidden):
        assert any(_is_near(polygon, (x + 0.5) / width, (y + 0.5) / height, 2 / width, 2 / height)
                   for polygon in polygons)


def _is_near(polygon: Polygon, x: float, y: float, by_x: float, by_y: float) -> bool:
    if turns_around(polygon, x, y):
        return True
    return any(_passes((ax - x) / by_x, (ay - y) / by_y, (bx - x) / by_x, (by - y) / by_y)
               for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _passes(ax: float, ay: float, bx: float, by: float) -> bool:
    """Return whether a line passes the origin within 1."""
    length = (bx - ax) ** 2 + (by - ay) ** 2
    share = 0.0 if not length else max(0.0, min(1.0, -(ax * (bx - ax) + ay * (by - ay)) / length))
    return math.hypot(ax + share * (bx - ax), ay + share * (by - ay)) <= 1


def test_a_pixel_that_an_edge_only_touches_is_hidden() -> None:
    """Every point of every edge lies in a hidden pixel, also where no centre of a pixel is near."""
    draw = random.Random(11)
    for _ in range(200):
        width, height = draw.randint(20, 120), draw.randint(2, 20)
        corners = np.array([(draw.random(), draw.random()) for _ in range(3)])
        hidden = hidden_pixels([[tuple(corner) for corner in corners]], width, height)
        shares = np.linspace(0, 1, 101)[:, None]
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            x, y = ((start + shares * (end - start)) * (width, height)).astype(int).T
            assert hidden[y.clip(0, height - 1), x.clip(0, width - 1)].all()


def test_a_mask_hides_all_that_opencv_paints_of_it() -> None:
    """A program that rounds the corners to pixels, as OpenCV's users do, hides no pixel that is open here."""
    draw = random.Random(13)
    for _ in range(500):
        width, height = draw.randint(8, 40), draw.randint(8, 40)
        polygon = [(draw.choice((0, 1, draw.random())), draw.choice((0, 1, draw.random()))) for _ in range(6)]
        painted = np.zeros((height, width), np.uint8)
        cv2.fillPoly(painted, [np.rint(np.multiply(polygon, (width, height))).astype(np.int32)], (1,))
        assert (hidden_pixels([polygon], width, height) >= painted).all()


def test_a_ring_keeps_its_middle() -> None:
    """A mask around an open middle, drawn out and back, hides the ring and leaves the middle."""
    ring: Polygon = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0.3, 0.3), (0.3, 0.7), (0.7, 0.7), (0.7, 0.3), (0.3, 0.3))
    hidden = hidden_pixels([ring], 40, 40)
    assert hidden[:11].all()
    assert hidden[:, 29:].all()
    assert not hidden[15:25, 15:25].any()


def test_each_size_of_frame_has_its_own_pixels() -> None:
    """A source that changes its size is masked at the new size at once."""
    masks = PrivacyMasks([LEFT, PENTAGRAM])
    for width, height in ((40, 30), (80, 60), (40, 30)):
        picture = np.full((height, width, 3), WHITE, np.uint8)
        masks.paint(picture)
        assert uncovered([LEFT, PENTAGRAM], np.asarray(~picture.any(axis=2))) == []
        assert (picture[-1] == WHITE).all()
