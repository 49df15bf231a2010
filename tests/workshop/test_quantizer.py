"""A float model is quantized as the device needs it: types, an exact input, and outputs near the float ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.models import float_detectors
from tests.support.models.float_detectors import SIZE
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported, UsageError
from vedette.tflite.file import ModelFile, read_model
from vedette.tflite.tensors import TensorSpec
from vedette.vision.interpreter import Interpreter
from vedette.vision.model_spec import ModelSpec, resolve

pytest.importorskip("litert_quantizer", reason="the workshop needs litert-quantizer")

from vedette.workshop import graph as graphs
from vedette.workshop import ranges
from vedette.workshop.quantizer import Quantized, Recipe, Scheme, quantize
from vedette.workshop.schemes import apply

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


@pytest.mark.parametrize("keep", ["none", "auto"])
def test_the_order_of_the_pictures_does_not_matter(tmp_path: Path, pictures: Drawn,
                                                   keep: Literal["none", "auto"]) -> None:
    """The same pictures in reverse give the same file, and the same cost of each block."""
    content, recipe = float_detectors.write(), Recipe(keep_float=keep)
    first, _ = quantized(tmp_path / "float.tflite", content, recipe, pictures)
    second, _ = quantized(tmp_path / "float.tflite", content, recipe, [*pictures][::-1])
    assert first == second


def test_a_file_without_a_signature_gets_one(tmp_path: Path, pictures: Drawn) -> None:
    """Without one the quantizer cannot calibrate it."""
    result, _ = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float="none"), pictures)
    assert any("signature" in cure for cure in result.cures)


@pytest.mark.parametrize("scheme", ["static", "dynamic-range", "weight-only"])
def test_a_quantized_file_is_refused(tmp_path: Path, pictures: Drawn, scheme: Scheme) -> None:
    """What is INT8 already cannot become better."""
    _, made = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(scheme, "none"), pictures)
    with pytest.raises(ModelUnsupported, match="quantized already"):
        quantize(*described(made), pictures, Recipe(), silent)


def test_a_float16_file_can_be_calibrated(tmp_path: Path, pictures: Drawn) -> None:
    """Its weights become float32 first, and then INT8."""
    _, half = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe("float16"), pictures)
    result, made = quantized(tmp_path / "half.tflite", half.read_bytes(), Recipe(keep_float="none"), pictures)
    assert any("float16" in cure for cure in result.cures)
    assert {spec.dtype for spec in read_model(made).tensors} <= {"int8", "int32"}


def test_boxes_in_pixels_leave_the_scores_alone(tmp_path: Path, pictures: Drawn) -> None:
    """Joined in one INT8 tensor, no score would be left: the tensor stays float, and this is said."""
    plain = tmp_path / "float.tflite"
    result, made = quantized(plain, float_detectors.write(SIZE), Recipe(keep_float="none"), pictures)
    wanted, given = (outputs(path, Drawn(4, seed=9))[..., 4:] for path in (plain, made))
    assert wanted.std() > 0.1
    assert np.quantile(np.abs(given - wanted), 0.95) < 0.05
    assert result.kept_float == ("output",)
    assert any("boxes in pixels" in cure and "output" in cure for cure in result.cures)


def test_without_that_cure_the_scores_are_lost(tmp_path: Path, pictures: Drawn) -> None:
    """This is what every quantizer makes of boxes in pixels."""
    graph = graphs.read(float_detectors.write(SIZE))
    graph.add_signature()
    made = tmp_path / "made.tflite"
    made.write_bytes(apply(graph, ranges.measure(graph, pictures, None, silent), "static"))
    assert len(np.unique(outputs(made, pictures)[..., 4:])) <= 4


def test_auto_keeps_the_box_arithmetic_float(tmp_path: Path, pictures: Drawn) -> None:
    """Boxes come nearer to the float ones, the input stays INT8, and each block has its cost."""
    plain = tmp_path / "float.tflite"
    wanted = {}
    for keep in ("none", "auto"):
        recipe = Recipe(keep_float="none" if keep == "none" else "auto")
        result, made = quantized(plain, float_detectors.write(), recipe, pictures)
        wanted[keep] = np.abs(outputs(made, Drawn(4, seed=9)) - outputs(plain, Drawn(4, seed=9)))[..., :4].mean()
    assert wanted["auto"] < wanted["none"]
    assert "boxes" in result.kept_float
    model = read_model(made)
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == ("int8", "float32")
    assert [cost.block for cost in result.sensitivity] == [f"layer-{number}" for number in range(1, 9)]
    assert all(cost.bytes_float > 0 and cost.sqnr_db > 0 for cost in result.sensitivity)


@pytest.mark.parametrize(("keep", "tensor"), [("layer-1", "stem"), ("layers-1-2", "second"), ("head16", "head16")])
def test_blocks_and_tensors_stay_float_by_name(tmp_path: Path, pictures: Drawn, keep: str, tensor: str) -> None:
    """The named layer has float weights, and the input is still INT8."""
    recipe = Recipe(keep_float=(keep,))
    result, made = quantized(tmp_path / "float.tflite", float_detectors.write(), recipe, pictures)
    model = read_model(made)
    kinds = {spec.name: spec.dtype for spec in model.tensors}
    assert kinds[f"{tensor}/weights"] == "float32"
    assert (kinds["down8/weights"], model.inputs[0].dtype, result.kept_float) == ("int8", "int8", (keep,))


def test_an_unknown_name_gets_the_list_of_blocks(tmp_path: Path, pictures: Drawn) -> None:
    """The names cannot be guessed."""
    with pytest.raises(UsageError, match=r"'neck'.*8 layers.*layer-1, layer-2.*boxes"):
        quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float=("neck",)), pictures)


def test_each_output_has_the_type_of_its_operation(pictures: Drawn) -> None:
    """No output is converted because another one is float."""
    graph = graphs.read(float_detectors.write(SIZE, apart=True))
    graph.add_signature()
    graph.drop_unused()
    made = graphs.read(apply(graph, ranges.measure(graph, pictures, None, silent), "static", kept=["boxes"]))
    types = made.schema.TensorType
    assert [made.main.tensors[index].type for index in made.main.outputs] == [types.FLOAT32, types.INT8]
    assert [made.name(int(index)) for index in made.main.outputs] == ["boxes", "scores"]
    assert [entry.tensorIndex for entry in made.model.signatureDefs[0].outputs] == list(made.main.outputs)


def test_a_bias_without_weights_is_kept(tmp_path: Path, pictures: Drawn) -> None:
    """An anchor that was never trained has them, and its scores must not become 0.5."""
    graph = graphs.read(float_detectors.write())
    for name, size, number in ((b"head32/weights", 12, 0.0), (b"head32/bias", 1, -4.6)):
        tensor = next(each for each in graph.main.tensors if each.name == name)
        numbers = np.frombuffer(graph.model.buffers[tensor.buffer].data.tobytes(), np.float32).copy()
        numbers[-size:] = number
        graph.model.buffers[tensor.buffer].data = np.frombuffer(numbers.tobytes(), np.uint8)
    plain = tmp_path / "float.tflite"
    result, made = quantized(plain, graphs.write(graph), Recipe(keep_float="none"), pictures)
    wanted, given = (outputs(path, Drawn(2, seed=9))[:, 0, -4:, -1] for path in (plain, made))
    np.testing.assert_allclose(wanted, 0.01, atol=0.001)
    np.testing.assert_allclose(given, wanted, atol=0.01)
    assert any("bias" in cure for cure in result.cures)


def test_a_layer_that_is_always_zero_stays_harmless(tmp_path: Path, pictures: Drawn) -> None:
    """Trained networks have them, and XNNPACK crashes on a scale of nothing."""
    graph = graphs.read(float_detectors.write())
    bias = next(tensor for tensor in graph.main.tensors if tensor.name == b"down8/bias")
    graph.model.buffers[bias.buffer].data = np.frombuffer(np.full(12, -100, np.float32).tobytes(), np.uint8)
    plain = tmp_path / "float.tflite"
    _, made = quantized(plain, graphs.write(graph), Recipe(keep_float="none"), pictures)
    difference = np.abs(outputs(made, Drawn(4, seed=9)) - outputs(plain, Drawn(4, seed=9)))
    assert np.quantile(difference, 0.95) < 0.05


def test_a_graph_that_does_not_run_is_refused(pictures: Drawn) -> None:
    """What the quantizer raises becomes an error of ours."""
    graph = graphs.read(float_detectors.write())
    graph.add_signature()
    graph.main.operators = graph.ops[:-1]
    with pytest.raises(ModelUnsupported, match="cannot run this graph"):
        ranges.measure(graph, pictures, None, silent)


def test_what_runs_outside_xnnpack_is_said(tmp_path: Path, pictures: Drawn) -> None:
    """One node, or the operations that split the graph."""
    result, _ = quantized(tmp_path / "float.tflite", float_detectors.write(), Recipe(keep_float="none"), pictures)
    assert any("XNNPACK runs" in note for note in result.notes)
