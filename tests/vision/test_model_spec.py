"""Which settings a model gets, which source decided each, and which models are refused with which message."""

import itertools
import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.truth.decoder_references import model, postprocess, spec
from vedette.config.models import DetectorConfig
from vedette.errors import ModelBadlyQuantised, ModelDamaged, ModelUnsupported
from vedette.tflite.file import OpSpec, read_model
from vedette.tflite.metadata import TensorMetadata, TfliteMetadata
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders import DECODERS
from vedette.vision.model_spec import limits_of, resolve
from vedette.vision.normalization import Normalization

CELLS = 84
HEAD = spec((1, 4 + 2, CELLS))
ULTRALYTICS = {"description": "Ultralytics YOLO11n model trained on coco.yaml", "task": "detect",
               "names": {0: "cat", 1: "dog"}}


def bundle(**settings: object) -> dict[str, bytes]:
    return {"vedette.json": json.dumps(settings).encode(), "labels.txt": b"hen\nfox\n"}


@pytest.mark.parametrize(("name", "decoder", "resize", "labels", "first"), [
    ("ssd_mobilenet_v1_coco_uint8_metadata", "ssd", "stretch", 90, "person"),
    ("yolov8n_416_coco_int8", "yolov8", "letterbox", 80, "person"),
    ("yolo11n_224_coco_int8", "yolov8", "letterbox", 80, "person"),
    ("yolo11n_256_litert_export_random_weights", "yolov8", "letterbox", 80, "0"),
    ("yolov5n_320_1class_uint8", "yolov5", "letterbox", 0, None),
    ("mediapipe_modelmaker_256_car_uint8", "anchors", "stretch", 2, "background"),
    ("ssd_tf2_320_outputs_reordered", "ssd", "stretch", 0, None),
    ("mobilenet_v2_224_imagenet_uint8", "classifier", "stretch", 1001, "background")])
def test_real_models(real: Path, name: str, decoder: str, resize: str, labels: int, first: str | None) -> None:
    """Each real model gets its decoder, resize and labels without any configuration."""
    found = resolve(read_model(real / "models" / f"{name}.tflite"), DetectorConfig())
    assert (found.decoder, found.resize, found.color, len(found.labels)) == (decoder, resize, "rgb", labels)
    assert next(iter(found.labels), None) == first
    assert not any("normalize" in warning or "model" in warning for warning in found.warnings)


@pytest.mark.parametrize(("name", "words"), [
    ("lstm_three_inputs_unsupported", "3 inputs .*expected one image"),
    ("invalid_invoke_error", "custom operations fake-op-double")])
def test_real_models_that_cannot_run(real: Path, name: str, words: str) -> None:
    """Three inputs and unknown operations are refused with a clear message."""
    with pytest.raises(ModelUnsupported, match=words):
        resolve(read_model(real / "models" / f"{name}.tflite"), DetectorConfig())


def test_the_order_of_the_sources() -> None:
    """Configuration wins over vedette.json, which wins over the exporter's metadata; each part names its source."""
    claims = {"metadata.json": json.dumps(ULTRALYTICS).encode()}
    exported = resolve(model(HEAD, attachments=claims), DetectorConfig())
    assert (exported.name, exported.labels, exported.resize) == ("YOLO11n", ("cat", "dog"), "letterbox")
    assert exported.decided_by["labels"] == "metadata.json (Ultralytics)"
    packed = resolve(model(HEAD, attachments=claims | bundle(name="yard", version="3", resize="stretch", color="bgr")),
                     DetectorConfig())
    assert (packed.name, packed.version, packed.labels) == ("yard", "3", ("hen", "fox"))
    assert (packed.resize, packed.color, packed.decided_by["resize"]) == ("stretch", "bgr", "vedette.json")
    stated = resolve(model(HEAD, attachments=claims | bundle(color="bgr")), DetectorConfig(color="rgb"))
    assert (stated.color, stated.decided_by["color"]) == ("rgb", "configuration")


def test_temp_meta_is_read_as_a_python_literal() -> None:
    """The older exporter's file, a printed dict, gives the same as JSON."""
    found = resolve(model(HEAD, attachments={"temp_meta.txt": repr(ULTRALYTICS).encode()}), DetectorConfig())
    assert found.labels == ("cat", "dog")
    assert found.normalization == Normalization((0.0,), (255.0,))


def test_normalization_of_tflite_metadata_is_for_floats() -> None:
    """An integer input gets the bytes unchanged, whatever mean and std TFLite Metadata states."""
    image = TensorMetadata("image", "", (127.5,), (127.5,), ())
    claims = TfliteMetadata("", "", "v1", (image,), (), MappingProxyType({}))
    found = resolve(replace(model(HEAD), tflite_metadata=claims), DetectorConfig())
    assert (found.normalization, found.version) == (None, "v1")
    floats = model(HEAD, image=TensorSpec("x", 0, (1, 64, 64, 3), "float32", 0.0, 0))
    found = resolve(replace(floats, tflite_metadata=claims), DetectorConfig())
    assert (found.normalization, found.decided_by["normalization"]) == (
        Normalization((127.5,), (127.5,)), "TFLite Metadata")


def test_labels_from_an_attached_file() -> None:
    """A single text file in the ZIP is the label list, whatever its name; two without a usual name are not used."""
    one = resolve(model(HEAD, attachments={"things.txt": b"cup\ncan\n"}), DetectorConfig())
    assert one.labels == ("cup", "can")
    two = resolve(model(HEAD, attachments={"a.txt": b"cup\ncan\n", "b.txt": b"x\ny\n"}), DetectorConfig())
    assert two.labels == ()


def test_labels_file_of_the_configuration(tmp_path: Path) -> None:
    """A labels file in the configuration wins over every other list."""
    path = tmp_path / "labels.txt"
    path.write_text("left\nright\n")
    found = resolve(model(HEAD, attachments=bundle()), DetectorConfig(labels_file=path))
    assert found.labels == ("left", "right")


@pytest.mark.parametrize(("labels", "words"), [
    (b"cat\n", "1 labels for 2 classes: too few"), (b"a\nb\nc\n", "3 labels for 2 classes: too many")])
def test_label_lists_of_the_wrong_length(labels: bytes, words: str) -> None:
    """A warning names both numbers when there are too few or too many labels."""
    assert any(words in warning for warning in resolve(
        model(HEAD, attachments={"labels.txt": labels}), DetectorConfig()).warnings)


def test_a_label_list_too_short_for_an_ssd() -> None:
    """Its rows do not show how many classes there are, but the operation's input does."""
    outputs = [spec((1, 10, 4), "float32", index=1), spec((1, 10), "float32", index=2),
               spec((1, 10), "float32", index=3), spec((1,), "float32", index=4)]
    scored = spec((1, 1917, 3 + 1), "uint8", index=5)
    made = model(*outputs, ops=(replace(postprocess(), inputs=(0, 5)),), attachments={"labels.txt": b"cat\ndog\n"})
    warnings = resolve(replace(made, tensors=(*made.tensors, scored)), DetectorConfig()).warnings
    assert "2 labels for 3 classes: too few; the other classes are named class_N" in warnings


def test_labels_that_the_model_does_not_have() -> None:
    """A warning names a configured label that the model does not have, and the label that was probably meant."""
    found = resolve(model(HEAD, attachments={"labels.txt": b"person\ncar\n"}),
                    DetectorConfig(labels={"persn": 0.4}, allow=("car", "plane")))
    assert "the model has no label 'persn'; did you mean 'person'?" in found.warnings
    assert "the model has no label 'plane'" in found.warnings


def test_no_decoder_fits() -> None:
    """The error names the shapes, every decoder's reason, and the key to set."""
    with pytest.raises(ModelUnsupported) as refused:
        resolve(model(spec((1, 7, 9))), DetectorConfig())
    words = str(refused.value)
    assert "out int8 1x7x9" in words
    assert "detector.decoder" in words
    for name in DECODERS:
        assert f"{name}: " in words


ODD_SHAPES = ((), (0,), (1, 0), (1, 0, 4), (1, 0, 6), (1, 0, 0, 2), (1, 0, 0, 4), (1, -1, 40, 2))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_outputs_without_elements_fit_no_decoder(count: int) -> None:
    """None at all, or an axis of no length: refused in words, whether a decoder is stated or not."""
    for shapes in itertools.product(ODD_SHAPES, repeat=count):
        odd = model(*map(spec, shapes))
        with pytest.raises(ModelUnsupported, match="no decoder fits"):
            resolve(odd, DetectorConfig())
        for name in DECODERS:
            with pytest.raises(ModelUnsupported, match=f"decoder {name} .* does not fit"):
                resolve(odd, DetectorConfig.model_validate({"decoder": name}))


@pytest.mark.parametrize(("side", "anchors", "words"), [
    (1 << 30, 9, "at most 2560 pixels a side"), (2560, 9, "outputs for 9 anchors")])
def test_a_large_input_costs_no_memory(side: int, anchors: int, words: str) -> None:
    """What a decoder keeps for each cell is made only where the outputs have as many."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelUnsupported, match=words):
            resolve(model(spec((1, anchors, 4)), spec((1, anchors, 3)), image=spec((1, side, side, 3))),
                    DetectorConfig())
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_cell_for_each_pixel_is_no_head() -> None:
    """Its distances would take hundreds of megabytes."""
    with pytest.raises(ModelUnsupported, match="a cell for less than 4x4 pixels"):
        resolve(model(spec((1, 2560, 2560, 2)), spec((1, 2560, 2560, 4), index=2), image=spec((1, 2560, 2560, 3))),
                DetectorConfig())


def test_a_stated_decoder_must_fit() -> None:
    """A configured decoder that does not fit the tensors is refused, and so is an unknown one in a bundle."""
    with pytest.raises(ModelUnsupported, match=r"decoder ssd \(configuration\) does not fit"):
        resolve(model(HEAD), DetectorConfig(decoder="ssd"))
    with pytest.raises(ModelUnsupported, match=r"decoder 'magic' \(vedette.json\) is unknown"):
        resolve(model(HEAD, attachments=bundle(decoder="magic")), DetectorConfig())


@pytest.mark.parametrize(("name", "outputs", "ops"), [
    ("yolo_end2end", [spec((1, 300, 6), "float32")], ()), ("fomo", [spec((1, 8, 8, 3))], ()),
    ("classifier", [spec((1, 5))], ()), ("yolov5", [spec((1, 3 * CELLS, 6))], ()),
    ("ssd", [spec((1, 10, 4), "float32", index=1), spec((1, 10), "float32", index=2),
             spec((1, 10), "float32", index=3), spec((1,), "float32", index=4)], (postprocess(),))])
def test_the_shapes_identify_the_family(name: str, outputs: list[TensorSpec], ops: tuple[OpSpec, ...]) -> None:
    """The shapes or the op list alone decide the decoder of each family."""
    assert resolve(model(*outputs, ops=ops), DetectorConfig()).decoder == name


@pytest.mark.parametrize("task", ["pose", "segment", "obb", ["detect"], None])
def test_other_tasks_are_refused(task: str | list[str] | None) -> None:
    """A pose model may have a detector's shape. Its task shows what it is, and the error names the task."""
    claims = {"metadata.json": json.dumps({**ULTRALYTICS, "task": task}).encode()}
    with pytest.raises(ModelUnsupported, match=re.escape(f"task {str(task)!r}")):
        resolve(model(HEAD, attachments=claims), DetectorConfig())


@pytest.mark.parametrize("image", [
    TensorSpec("x", 0, (1, 1, 1, 3), "uint8", 1 / 255, 0), TensorSpec("x", 0, (1, 64, 64), "uint8", 1 / 255, 0),
    TensorSpec("x", 0, (1, 64, 64, 4), "uint8", 1 / 255, 0), TensorSpec("x", 0, (1, 64, 64, 3), "int16", 1 / 255, 0),
    TensorSpec("x", 0, (2, 64, 64, 3), "uint8", 1 / 255, 0)])
def test_an_input_that_is_not_an_image_is_refused(image: TensorSpec) -> None:
    """Inputs of any other shape, size or type are refused; the error names them."""
    with pytest.raises(ModelUnsupported, match="expected one image of a fixed size"):
        resolve(model(HEAD, image=image), DetectorConfig())


def test_one_huge_scale_is_badly_quantised() -> None:
    """A model is refused if its scores have such large steps that none can reach the threshold."""
    pixels = spec((1, 6, CELLS), "int8", 2.6, -128)
    with pytest.raises(ModelBadlyQuantised, match=r"output scale of 2\.6"):
        resolve(model(pixels), DetectorConfig())
    with pytest.raises(ModelBadlyQuantised, match=r"threshold is 0\.9"):
        resolve(model(spec((1, 6, CELLS), "int8", 0.003, -128)), DetectorConfig(score_threshold=0.9))
    coarse = resolve(model(spec((1, 6, CELLS), "int8", 0.06, -128)), DetectorConfig())
    assert any("output scale 0.06" in warning for warning in coarse.warnings)


def test_float_models_give_a_warning() -> None:
    """Float, float16 and dynamic-range models run, and the warning names the kind."""
    image, head = TensorSpec("x", 0, (1, 64, 64, 3), "float32", 0.0, 0), spec((1, 6, CELLS), "float32", index=2)
    for weights, words in (("float32", "float32 model"), ("float16", "float16 model"), ("int8", "dynamic-range")):
        layer = OpSpec("CONV_2D", False, (0, 1), (2,))
        made = model(head, image=image, ops=(layer,))
        made = replace(made, tensors=(image, TensorSpec("w", 1, (1,), weights, 0.0, 0), head))
        assert any(words in warning for warning in resolve(made, DetectorConfig()).warnings)


def test_an_assumed_normalization_gives_a_warning() -> None:
    """A warning says that the normalization is assumed if nothing states it and the input is not the frame's bytes."""
    image = TensorSpec("x", 0, (1, 64, 64, 3), "int8", 0.01866, -14)
    assumed = resolve(model(HEAD, image=image), DetectorConfig())
    assert assumed.normalization == Normalization((0.0,), (255.0,))
    assert any("detector.mean" in warning for warning in assumed.warnings)
    stated = resolve(model(HEAD, image=image), DetectorConfig(mean=(0,), std=(255,)))
    assert not any("detector.mean" in warning for warning in stated.warnings)


@pytest.mark.parametrize(("mean", "std"), [([1.0], [0.0]), ([1.0, 2.0], [1.0]), ([1.0], []), ([1.0], [-1.0])])
def test_invalid_normalizations_are_refused(mean: list[float], std: list[float]) -> None:
    """A normalization has one or three numbers for mean and std, and std is above 0."""
    packed = model(HEAD, attachments=bundle(normalization={"mean": mean, "std": std}))
    with pytest.raises(ModelUnsupported, match="expected one or three numbers"):
        resolve(packed, DetectorConfig())


def test_a_bundle_of_another_flatbuffer_is_damaged() -> None:
    """vedette.json states the digest of the flatbuffer that it was packed with."""
    with pytest.raises(ModelDamaged, match="states SHA-256 0000"):
        resolve(model(HEAD, attachments=bundle(sha256="0" * 64)), DetectorConfig())
    assert resolve(model(HEAD, attachments=bundle(sha256="f" * 64)), DetectorConfig()).labels == ("hen", "fox")


@pytest.mark.parametrize(("content", "seen"), [
    (b"", ""), (b"[]", "the file: expected an object"), (b"{", ""), (b"\xff", ""), (b"[" * 100_000, ""),
    (b'{"name": 3}', "name: "), (b'{"name": "\\ud800"}', "name: "), (b'{"color": "red"}', "color: expected rgb or bgr"),
    (b'{"resize": ["stretch"]}', "resize: "), (b'{"thresholds": 1}', "thresholds: "),
    (b'{"thresholds": {"score": 7}}', r"thresholds\.score: expected a number of 0 to 1"),
    (b'{"thresholds": {"iou": NaN}}', r"thresholds\.iou: "),
    (b'{"thresholds": {"labels": {"hen": true}}}', r"thresholds\.labels\.hen: "),
    (b'{"thresholds": {"labels": ["hen"]}}', r"thresholds\.labels: "), (b'{"normalization": []}', "normalization: "),
    (b'{"normalization": {"mean": [0]}}', r"normalization\.std: "),
    (b'{"normalization": {"mean": ["0"], "std": [1]}}', r"normalization\.mean: "),
    (b'{"normalization": {"mean": [1%s], "std": [1]}}' % (b"0" * 999), r"normalization\.mean: expected finite")])
def test_an_invalid_bundle_is_refused(content: bytes, seen: str) -> None:
    """An invalid vedette.json is refused; the error names the key."""
    with pytest.raises(ModelUnsupported, match=rf"vedette\.json: {seen}"):
        resolve(model(HEAD, attachments={"vedette.json": content}), DetectorConfig())


@pytest.mark.parametrize("claims", [
    b"", b"[1]", b'{"names": 7}', b'{"description": 1, "names": null}', b"\xff\xfe", b"stride: 32\ntask: detect\n"])
def test_invalid_exporter_metadata_is_ignored(claims: bytes) -> None:
    """Invalid exporter metadata is ignored; the tensors still show how to run the model."""
    assert resolve(model(HEAD, attachments={"metadata.json": claims}), DetectorConfig()).decoder == "yolov8"


def test_configured_thresholds_win_over_a_bundles() -> None:
    """A bundle's thresholds replace the defaults, and configured keys replace the bundle's."""
    packed = model(HEAD, attachments=bundle(thresholds={"score": 0.3, "iou": 0.6, "labels": {"hen": 0.2, "fox": 0.7}}))
    usual = limits_of(packed, DetectorConfig())
    assert (usual.score_threshold, usual.iou_threshold, usual.labels) == (0.3, 0.6, {"hen": 0.2, "fox": 0.7})
    stated = limits_of(packed, DetectorConfig(score_threshold=0.5, labels={"hen": 0.4}))
    assert (stated.score_threshold, stated.iou_threshold, stated.labels) == (0.5, 0.6, {"hen": 0.4, "fox": 0.7})


def test_a_normalization_for_other_channels_is_refused() -> None:
    """Three means for a grey input are refused with a clear message, not with a numpy error in the detect thread."""
    grey = model(HEAD, image=spec((1, 64, 64, 1), name="image", index=0))
    with pytest.raises(ModelUnsupported, match=r"mean \(1.0, 2.0, 3.0\).*\(configuration\).*one for each channel"):
        resolve(grey, DetectorConfig(mean=(1, 2, 3), std=(1, 1, 1)))
    assert resolve(grey, DetectorConfig(mean=(1,), std=(2,))).normalization == Normalization((1,), (2,))
