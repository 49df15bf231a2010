"""Pictures are prepared for calibration exactly as the device prepares its frames."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vedette.config.models import DetectorConfig
from vedette.detect.box_model import BOX_MODEL
from vedette.errors import SourceInvalid
from vedette.tflite.file import read_model
from vedette.types import WHOLE, Box
from vedette.vision.geometry import InputShape
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.normalization import Normalization
from vedette.vision.prepare import InputWriter
from vedette.workshop.prepared import Pictures, Prepared, picture_files


@pytest.fixture
def spec() -> ModelSpec:
    return resolve(read_model(BOX_MODEL), DetectorConfig(model=BOX_MODEL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = np.random.default_rng(7)
    (tmp_path / "night").mkdir()
    for name, size in (("b.png", (90, 160)), ("a.png", (200, 120)), ("night/c.png", (64, 64))):
        cv2.imwrite(str(tmp_path / name), noise.integers(0, 256, (*size, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_the_values_are_those_of_the_device(folder: Path, spec: ModelSpec) -> None:
    """The bytes that the device writes into an INT8 input, as real values."""
    model = read_model(BOX_MODEL)
    tensor = model.inputs[0]
    frames = Pictures(picture_files(folder))
    roi = Box(0.1, 0.2, 0.9, 1.0)
    view = np.empty(tensor.shape, tensor.dtype)
    writer = InputWriter(view, tensor, spec.input, color=spec.color, resize=spec.resize,
                         normalization=spec.normalization)
    prepared = Prepared(frames, spec, roi)
    assert len(prepared) == 3
    for frame, values in zip(frames, prepared, strict=True):
        writer.write(frame, roi)
        on_device = (view.astype(np.float64) - tensor.zero_point) * tensor.scale
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, on_device, atol=tensor.scale / 2)


def test_it_can_be_read_twice(folder: Path, spec: ModelSpec) -> None:
    """A quantizer counts the pictures before it reads them."""
    prepared = Prepared(Pictures(picture_files(folder)), spec)
    first, second = list(prepared), list(prepared)
    np.testing.assert_array_equal(first, second)


def test_masked_pixels_are_black(folder: Path) -> None:
    """A privacy mask hides the same part in every picture."""
    upper_half = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)]
    for frame in Pictures(picture_files(folder), [upper_half]):
        pixels = np.asarray(frame.pixels)
        assert not pixels[: pixels.shape[0] // 2].any()
        assert pixels[pixels.shape[0] // 2 + 2:].any()


def test_planes_and_a_normalization_of_its_own(folder: Path, spec: ModelSpec) -> None:
    """The axes and the normalization are those of the model."""
    pixels = Pictures(picture_files(folder))
    plain = next(iter(Prepared(pixels, spec)))
    shape = InputShape(spec.input.width, spec.input.height, 3, planar=True)
    other = replace(spec, input=shape, normalization=Normalization((127.5,), (127.5,)))
    planes = next(iter(Prepared(pixels, other, WHOLE)))
    assert planes.shape == (1, 3, spec.input.height, spec.input.width)
    np.testing.assert_allclose(planes, plain.transpose(0, 3, 1, 2) * 2 - 1, atol=1e-5)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(SourceInvalid, match=str(tmp_path)):
        picture_files(tmp_path)
