"""A float model is quantized as the device needs it: types, an exact input, and outputs near the float ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.models import float_detectors
from tests.support.models.float_detectors import SIZE
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile, read_model
from vedette.tflite.tensors import TensorSpec
from vedette.vision.interpreter import Interpreter
from vedette.vision.model_spec import ModelSpec, resolve

pytest.importorskip("litert_quantizer", reason="the workshop needs litert-quantizer")

from vedette.workshop.quantizer import Quantized, Recipe, Scheme, quantize

Floats = NDArray[np.float32]


class Drawn(Sequence[Floats]):
    """Pictures with soft patches, as float inputs in 0-1."""

    def __init__(self, count: int, seed: int = 1) -> None:
        noise = np.random.default_rng(seed)
        coarse = noise.random((count, 1, 8, 8, 3), np.float32)
        self._all: Floats = np.kron(coarse, np.ones((1, 1, SIZE // 8, SIZE // 8, 1), np.float32))

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Floats:  # type: ignore[override]
        picture: Floats = self._all[index]
        return picture

    def __iter__(self) -> Iterator[Floats]:
        return iter(self._all)


def silent(_: str) -> None:
    """Drop what is said of the progress."""


def described(path: Path) -> tuple[ModelFile, ModelSpec]:
    model = read_model(path)
    return model, resolve(model, DetectorConfig(model=path, decoder="yolov8"))


def quantized(path: Path, content: bytes, recipe: Recipe, inputs: Sequence[Floats]) -> tuple[Quantized, Path]:
    path.write_bytes(content)
    result = quantize(*described(path), inputs, recipe, silent)
    made = path.with_name("made.tflite")
    made.write_bytes(result.content)
    return result, made


def outputs(path: Path, pictures: Sequence[Floats]) -> NDArray[np.float64]:
    """What the model gives for each picture, as real values."""
    interpreter = Interpreter(path)
    found = []
    for picture in pictures:
        interpreter.input()[...] = as_type(picture, interpreter.inputs[0])
        interpreter.invoke()
        spec, raw = interpreter.outputs[0], interpreter.output().astype(np.float64)
        found.append((raw - spec.zero_point) * spec.scale if spec.quantised else raw)
    interpreter.close()
    return np.array(found)


def as_type(picture: Floats, spec: TensorSpec) -> NDArray[Any]:
    if not spec.quantised:
        return picture
    integers: NDArray[Any] = np.rint(picture / spec.scale + spec.zero_point).clip(-128, 127).astype(spec.dtype)
    return integers


@pytest.fixture(scope="module")
def pictures() -> Drawn:
    return Drawn(12)


@pytest.mark.parametrize(("scheme", "dtype"), [("static", "int8"), ("per-tensor", "int8"), ("dynamic-range", "float32"),
                                               ("weight-only", "float32"), ("float16", "float32")])
def test_each_scheme_gives_nearly_the_float_outputs(tmp_path: Path, pictures: Drawn, scheme: Scheme,
                                                    dtype: str) -> None:
    """Boxes in 0-1 and scores stay where they are, in a file that is smaller."""
    content = float_detectors.write()
    _, made = quantized(tmp_path / "float.tflite", content, Recipe(scheme, "none"), pictures)
    model = read_model(made)
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == (dtype, dtype)
    difference = np.abs(outputs(made, Drawn(4, seed=9)) - outputs(tmp_path / "float.tflite", Drawn(4, seed=9)))
    assert np.quantile(difference, 0.95) < 0.05


def test_the_integers_of_the_input_are_the_bytes_of_a_picture(tmp_path: Path) -> None:
    """Dark pictures do not change the input: its scale is 1/255 whatever the pictures show."""
    dark = [np.full((1, SIZE, SIZE, 3), 0.2, np.float32)] * 2
    _, made = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float="none"), dark)
    image = read_model(made).inputs[0]
    assert (image.scale, image.zero_point) == (float(np.float32(1 / 255)), -128)


def test_the_order_of_the_pictures_does_not_matter(tmp_path: Path, pictures: Drawn) -> None:
    """The same pictures in reverse give the same file."""
    content, recipe = float_detectors.write(), Recipe(keep_float="none")
    first, _ = quantized(tmp_path / "float.tflite", content, recipe, pictures)
    second, _ = quantized(tmp_path / "float.tflite", content, recipe, [*pictures][::-1])
    assert first.content == second.content


def test_a_file_without_a_signature_gets_one(tmp_path: Path, pictures: Drawn) -> None:
    """Without one the quantizer cannot calibrate it."""
    result, _ = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float="none"), pictures)
    assert any("signature" in cure for cure in result.cures)


def test_a_quantized_file_is_refused(tmp_path: Path, pictures: Drawn) -> None:
    """What is INT8 already cannot become better."""
    _, made = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float="none"), pictures)
    with pytest.raises(ModelUnsupported, match="quantized already"):
        quantize(*described(made), pictures, Recipe(), silent)
