"""Writing frames to input tensors: every layout, type and normalization against plain numpy."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.present import present
from vedette.tflite.tensors import TensorSpec
from vedette.types import WHOLE, Box, Frame
from vedette.vision.geometry import InputShape, Placement
from vedette.vision.interpreter import Interpreter
from vedette.vision.normalization import Normalization, byte_table, quantized_as_bytes
from vedette.vision.prepare import InputWriter
from vedette.vision.scale import Scaler

NORMALIZATIONS = (None, Normalization((0.0,), (255.0,)), Normalization((127.5,), (127.5,)))
QUANTIZATIONS = {"uint8": (0.01866, 3), "int8": (0.01866, -14), "float32": (0.0, 0)}
GREY = 114
"""What Ultralytics pads pictures with in training."""


def frame(width: int = 76, height: int = 43, seed: int = 0) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels.setflags(write=False)
    return Frame(1, pixels.data, 0, datetime.now(UTC), 0)


def expected(seen: Frame, placement: Placement, shape: InputShape, table: np.ndarray, color: str) -> np.ndarray:
    """Scale, convert colours, pad, apply the table, transpose: each in its own step."""
    part, content = placement.source, placement.content
    pixels = np.asarray(seen.pixels)[part.top:part.bottom, part.left:part.right]
    pixels = cv2.resize(pixels, (content.width, content.height), interpolation=cv2.INTER_LINEAR_EXACT)
    if shape.channels == 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]
    elif color == "rgb":
        pixels = pixels[..., ::-1]
    whole = np.full((shape.height, shape.width, shape.channels), GREY, np.uint8)
    whole[content.top:content.bottom, content.left:content.right] = pixels
    values = np.stack([table[whole[..., channel], channel] for channel in range(shape.channels)], -1)
    return values.transpose(2, 0, 1) if shape.planar else values


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 3, 32, 48), (1, 32, 48, 1), (1, 1, 32, 48)])
@pytest.mark.parametrize("dtype", list(QUANTIZATIONS))
def test_every_kind_of_tensor(dtype: str, shape: tuple[int, ...], color: Literal["rgb", "bgr"],
                              resize: Literal["letterbox", "stretch"],
                              normalization: Normalization | None) -> None:
    """For every layout, type, colour and normalization the tensor holds what the plain steps give."""
    scale, zero_point = QUANTIZATIONS[dtype]
    spec = TensorSpec("x", 0, shape, dtype, scale, zero_point)
    view, image = np.zeros(shape, dtype), present(InputShape.of(shape))
    writer = InputWriter(view, spec, image, color=color, resize=resize, normalization=normalization)
    for seen in (frame(), frame(40, 60), frame(40, 60, seed=2)):     # sizes change, then stay
        placement = writer.write(seen, Box(0.1, 0, 0.9, 1))
        assert np.array_equal(view[0], expected(seen, placement, image, byte_table(spec, normalization, image.channels),
                                                color))


@pytest.mark.parametrize("size", [(76, 43), (200, 150), (48, 27)])
def test_a_part_scaled_by_the_camera_gives_the_same_tensor(size: tuple[int, ...]) -> None:
    """The tensor is the same whether the camera scaled the part or not; a part of another scaling is not used."""
    spec = TensorSpec("x", 0, (1, 32, 48, 3), "int8", 1 / 255, -128)
    views = np.zeros((2, 1, 32, 48, 3), np.int8)
    alone, helped = (InputWriter(view, spec, present(InputShape.of(view.shape)), color="rgb",
                                 resize="letterbox", normalization=None) for view in views)
    seen = frame(*size)
    placement = alone.write(seen, WHOLE)
    assert helped.write(seen, WHOLE) == placement
    wish = helped.scaling
    if wish is None:
        assert (placement.source.width, placement.source.height) == size == (48, 27)
        return
    part = np.empty((wish.height, wish.width, 3), np.uint8)
    Scaler(wish).scale(np.asarray(seen.pixels), part)
    part = np.ascontiguousarray(part[..., ::-1])      # RGB
    helped.write(replace(seen, scaling=wish, scaled=part.data), WHOLE)
    assert np.array_equal(*views)
    part[:] = 0
    helped.write(replace(seen, scaling=wish, scaled=part.data), WHOLE)
    assert not np.array_equal(*views)
    helped.write(replace(seen, scaling=wish._replace(left=wish.left + 1), scaled=part.data), WHOLE)
    assert np.array_equal(*views)


@given(st.floats(1e-4, 0.1), st.integers(-128, 127), st.floats(0, 255), st.floats(0.5, 255))
def test_the_table_is_the_formula(scale: float, zero_point: int, mean: float, std: float) -> None:
    """Each entry is the nearest integer to (byte - mean) / std / scale + zero point, cut to the type."""
    spec = TensorSpec("x", 0, (1, 8, 8, 3), "int8", scale, zero_point)
    table = byte_table(spec, Normalization((mean,), (std,)), 3)
    for byte in (0, 1, 100, 254, 255):
        exact = min(max((byte - mean) / std / scale + zero_point, -128), 127)
        assert abs(int(table[byte, 0]) - exact) <= 0.5 + 1e-9
    assert table.shape == (256, 3)


def test_one_number_per_channel() -> None:
    """Mean and std may differ per channel, in the model's channel order."""
    spec = TensorSpec("x", 0, (1, 8, 8, 3), "float32", 0.0, 0)
    table = byte_table(spec, Normalization((0.0, 10.0, 20.0), (1.0, 2.0, 4.0)), 3)
    assert table[100].tolist() == [100.0, 45.0, 20.0]


@pytest.mark.parametrize(("dtype", "scale", "zero_point", "answer"), [
    ("uint8", 1 / 255, 0, True), ("int8", 1 / 255, -128, True), ("uint8", 1 / 128, 128, True),
    ("int8", 1.0, -128, True), ("uint8", 2 / 255, 127, True), ("int8", 0.01866, -14, False),
    ("uint8", 0.02, 114, False)])
def test_which_quantizations_stand_for_bytes(dtype: str, scale: float, zero_point: int, answer: bool) -> None:
    """Inputs of 0-1, -1 to 1 or 0-255 take the bytes unchanged; an input standardized by mean and std does not."""
    assert quantized_as_bytes(TensorSpec("x", 0, (1, 8, 8, 3), dtype, scale, zero_point)) is answer


def test_padding_is_written_once() -> None:
    """Padding that a test overwrites stays so while frames keep their size: it is not written per frame."""
    view = np.zeros((1, 32, 32, 3), np.uint8)
    spec = TensorSpec("x", 0, view.shape, "uint8", 1 / 255, 0)
    writer = InputWriter(view, spec, present(InputShape.of(view.shape)), color="rgb", resize="letterbox",
                         normalization=None)
    writer.write(frame(), WHOLE)
    assert (view[0, 0] == GREY).all()
    view[0, 0] = 7
    writer.write(frame(seed=1), WHOLE)
    assert (view[0, 0] == 7).all()
    writer.write(frame(50, 43), WHOLE)
    assert (view[0, :, 0] != 7).all()


def test_the_region_may_change_with_every_frame() -> None:
    """The tensor and the place are those of a new writer, with bars of the letterbox and without."""
    spec = TensorSpec("x", 0, (1, 32, 48, 3), "int8", 1 / 255, -128)
    views = np.zeros((2, 1, 32, 48, 3), np.int8)
    shape = present(InputShape.of(spec.shape))
    used, new = (InputWriter(view, spec, shape, color="rgb", resize="letterbox", normalization=None) for view in views)
    for roi in (WHOLE, Box(0.5, 0, 1, 1), Box(0, 0.5, 1, 1), Box(0, 0, 0.5, 0.5), Box(0.5, 0.5, 1, 1), WHOLE):
        new = InputWriter(views[1], spec, shape, color="rgb", resize="letterbox", normalization=None)
        assert used.write(frame(), roi) == new.write(frame(), roi)
        assert used.scaling == new.scaling
        assert np.array_equal(*views)


def test_strong_shrinking_averages() -> None:
    """Stripes of every third pixel, shrunk to a third, come near their mean; bilinear scaling alone would not."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:, 1::3] = 210
    view = np.zeros((1, 32, 32, 3), np.uint8)
    spec = TensorSpec("x", 0, view.shape, "uint8", 1 / 255, 0)
    InputWriter(view, spec, present(InputShape.of(view.shape)), color="rgb", resize="letterbox",
                normalization=None).write(Frame(1, pixels.data, 0, datetime.now(UTC), 0), WHOLE)
    assert abs(view.astype(int) - 70).max() <= 25


@pytest.mark.parametrize("name", ["yolov8n_416_coco_int8", "ssd_mobilenet_v1_coco_uint8_metadata",
                                  "yolo11n_256_litert_export_random_weights"])
def test_runtimes_keep_their_inputs(real: Path, name: str) -> None:
    """An invoke does not change the input tensor. Therefore padding can be written once."""
    interpreter = Interpreter(real / "models" / f"{name}.tflite")
    view = interpreter.input(0)
    view[:] = np.random.default_rng(0).integers(0, 100, view.shape).astype(view.dtype)
    before = view.copy()
    interpreter.invoke()
    assert np.array_equal(view, before)
    del view
    interpreter.close()
