"""The place of frames in the model's input, and the mapping of boxes back."""

from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vedette.types import WHOLE, Box
from vedette.vision.geometry import Area, InputShape, clip, iou, place, roi_pixels

sides = st.integers(16, 4000)
inputs = st.builds(InputShape, width=st.integers(32, 640), height=st.integers(32, 640), channels=st.just(3),
                   planar=st.booleans())
unit = st.floats(0, 1)
spans = st.tuples(unit, unit).map(sorted).filter(lambda span: span[1] - span[0] > 0.05)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), spans, spans)
resizes = st.sampled_from(("letterbox", "stretch"))

Resize = Literal["letterbox", "stretch"]


@given(sides, sides, boxes, inputs, resizes, boxes)
def test_to_the_input_and_back_is_the_same_box(width: int, height: int, roi: Box, shape: InputShape, resize: Resize,
                                               box: Box) -> None:
    """Letterbox or stretch and its inverse are the identity for any box inside the part that the model gets."""
    placement = place(width, height, roi, shape, resize)
    seen = placement.to_frame(WHOLE)
    inside = Box(seen.xmin + box.xmin * (seen.xmax - seen.xmin), seen.ymin + box.ymin * (seen.ymax - seen.ymin),
                 seen.xmin + box.xmax * (seen.xmax - seen.xmin), seen.ymin + box.ymax * (seen.ymax - seen.ymin))
    assert placement.to_frame(placement.to_input(inside)) == pytest.approx(inside, abs=1e-9)


@given(sides, sides, boxes, inputs, resizes)
def test_the_content_shows_the_source(width: int, height: int, roi: Box, shape: InputShape, resize: Resize) -> None:
    """The corners of the content in the input are the corners of the source in the frame."""
    placement = place(width, height, roi, shape, resize)
    content, source = placement.content, placement.source
    corners = Box(content.left / shape.width, content.top / shape.height,
                  content.right / shape.width, content.bottom / shape.height)
    assert placement.to_frame(corners) == pytest.approx(
        (source.left / width, source.top / height, source.right / width, source.bottom / height), abs=1e-9)


@given(sides, sides, unit, unit)
def test_a_region_has_at_least_one_pixel(width: int, height: int, x: float, y: float) -> None:
    """A region without an area is one pixel of the frame, also at its border."""
    found = roi_pixels(width, height, Box(x, y, x, y))
    assert (found.width >= 1, found.height >= 1) == (True, True)
    assert (found.right <= width, found.bottom <= height) == (True, True)


@given(sides, sides, inputs)
def test_letterbox_keeps_the_shape_and_centres(width: int, height: int, shape: InputShape) -> None:
    """The content touches two edges of the input, keeps the aspect ratio within a pixel, and is centred within one."""
    content = place(width, height, WHOLE, shape, "letterbox").content
    assert content.width == shape.width or content.height == shape.height
    assert abs(content.width * height - content.height * width) <= max(width, height)
    assert 0 <= (shape.width - content.width) - 2 * content.left <= 1
    assert 0 <= (shape.height - content.height) - 2 * content.top <= 1


@given(sides, sides, boxes, inputs, resizes, boxes)
def test_no_box_leaves_the_region_of_interest(width: int, height: int, roi: Box, shape: InputShape, resize: Resize,
                                              box: Box) -> None:
    """A box on the frame lies inside the part that the model was given, whatever the model outputs."""
    placement = place(width, height, roi, shape, resize)
    source, found = placement.source, placement.to_frame(box)
    assert source.left <= found.xmin * width + 1e-6
    assert found.xmin <= found.xmax
    assert found.xmax * width <= source.right + 1e-6
    assert source.top <= found.ymin * height + 1e-6
    assert found.ymin <= found.ymax
    assert found.ymax * height <= source.bottom + 1e-6


@given(boxes, boxes)
def test_iou_is_symmetric_and_one_for_itself(one: Box, other: Box) -> None:
    """IoU is in 0-1, does not depend on the order, and is 1 for a box and itself."""
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert 0 <= iou(one, other) <= 1 + 1e-12
    assert iou(one, one) == pytest.approx(1)


@given(sides, sides, inputs, unit, spans)
def test_a_box_in_the_padding_is_not_shown(width: int, height: int, shape: InputShape, depth: float,
                                           across: list[float]) -> None:
    """A box that only touches the frame's content from any side shows nothing of the frame."""
    placement = place(width, height, WHOLE, shape, "letterbox")
    xmin, ymin, xmax, ymax = placement.to_input(WHOLE)
    low, high = across
    for box in (Box(xmin - depth, low, xmin, high), Box(xmax, low, xmax + depth, high),
                Box(low, ymin - depth, high, ymin), Box(low, ymax, high, ymax + depth)):
        assert not placement.shows(box)


@given(sides, sides, inputs, resizes, boxes)
@example(16, 342, InputShape(547, 32, 3, planar=False), "letterbox", Box(0.203125, 0.0, 0.2578125, 1.0))
def test_a_shown_box_has_an_area_when_published(width: int, height: int, shape: InputShape, resize: Resize,
                                                box: Box) -> None:
    """A shown box is never a line or a point on the frame, not even with the four decimals of a message."""
    placement = place(width, height, WHOLE, shape, resize)
    xmin, ymin, xmax, ymax = (round(corner, 4) for corner in placement.to_frame(box))
    assert (xmin < xmax and ymin < ymax) or not placement.shows(box)
    assert placement.shows(placement.to_input(box))


def test_iou_of_known_boxes() -> None:
    """Two boxes that share a quarter of each have an IoU of one seventh."""
    assert iou(Box(0, 0, 2, 2), Box(1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou(Box(0, 0, 1, 1), Box(1, 0, 2, 1)) == 0


def test_clip_leaves_no_area_outside_the_limits() -> None:
    """A box outside the limits has no area after clipping."""
    assert clip(Box(1.2, -0.5, 1.4, 0.5)) == Box(1.0, 0.0, 1.0, 0.5)


def test_known_letterbox() -> None:
    """768x432 in 416x416: 416x234 pixels, 91 rows of padding above."""
    placement = place(768, 432, WHOLE, InputShape(416, 416, 3, planar=False), "letterbox")
    assert placement.content == Area(0, 91, 416, 234)
    assert (placement.content.right, placement.content.bottom) == (416, 325)


@pytest.mark.parametrize(("shape", "expected"), [
    ((1, 300, 320, 3), InputShape(320, 300, 3, planar=False)), ((1, 3, 300, 320), InputShape(320, 300, 3, planar=True)),
    ((1, 96, 96, 1), InputShape(96, 96, 1, planar=False)), ((1, 8, 8, 320), None), ((2, 8, 8, 3), None),
    ((1, 300), None), ((1, -1, -1, 3), None)])
def test_input_shapes(shape: tuple[int, ...], expected: InputShape | None) -> None:
    """An image has four axes, one batch, and one or three channels, first or last."""
    assert InputShape.of(shape) == expected
