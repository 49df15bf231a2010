"""Which models MediaPipe and the TFLite Task Library are told about, and what stops them from reading the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.truth.decoder_references import IMAGE, model, postprocess, spec
from vedette.config.models import DetectorConfig
from vedette.tflite.file import ModelFile
from vedette.tflite.metadata import TfliteMetadata
from vedette.tflite.tensors import TensorSpec
from vedette.vision import mediapipe
from vedette.vision.model_spec import resolve

SHARES = spec((1, 3), "uint8", 1 / 256, 0)
FLOAT = TensorSpec("image", 0, (1, 64, 64, 3), "float32", 0.0, 0)
ROWS = tuple(spec(shape, "float32", index=index)
             for index, shape in enumerate(((1, 9), (1, 9, 4), (1,), (1, 9)), 1))


def unreadable(read: ModelFile, **keys: Any) -> str:
    return mediapipe.unreadable(read, resolve(read, DetectorConfig(model=read.path, **keys))) or ""


def test_detectors_and_classifiers_are_readable() -> None:
    """SSD in any order of its outputs, and probabilities, from bytes or from numbers with one normalization."""
    assert unreadable(model(*ROWS, ops=(postprocess((2, 4, 1, 3)),))) == ""
    assert unreadable(model(SHARES), decoder="classifier") == ""
    assert unreadable(model(SHARES, image=FLOAT), decoder="classifier", mean=[127.5] * 3, std=[127.5] * 3) == ""


@pytest.mark.parametrize(("image", "output", "keys", "words"), [
    (IMAGE, spec((1, 84, 84), "uint8", 1 / 256, 0), {"decoder": "yolov8"}, "decoder yolov8; they know ssd"),
    (TensorSpec("image", 0, (1, 64, 64, 3), "int8", 1 / 255, -128), SHARES, {}, "they know 1xHxWx3 of uint8 or"),
    (TensorSpec("image", 0, (1, 64, 64, 1), "uint8", 1 / 255, 0), SHARES, {}, "they know 1xHxWx3"),
    (TensorSpec("image", 0, (1, 3, 64, 64), "uint8", 1 / 255, 0), SHARES, {}, "they know 1xHxWx3"),
    (IMAGE, SHARES, {"color": "bgr"}, "color bgr"),
    (IMAGE, SHARES, {"resize": "letterbox"}, "resize letterbox"),
    (IMAGE, SHARES, {"mean": [10.0], "std": [20.0]}, "they give it the bytes"),
    (FLOAT, SHARES, {"mean": [120.0, 110.0, 100.0], "std": [60.0] * 3}, "a normalization for each channel"),
    (IMAGE, spec((1, 3), "int8", 1 / 256, -128), {}, "they know uint8 or float32"),
    (IMAGE, spec((1, 3), "float32"), {}, "no probabilities")])
def test_what_stops_them_is_named(image: TensorSpec, output: TensorSpec, keys: dict[str, Any], words: str) -> None:
    """One obstacle in each model, and the reason names it."""
    assert words in unreadable(model(output, image=image), **{"decoder": "classifier", **keys})


def test_anchors_need_the_metadata_of_model_maker() -> None:
    """Without it the libraries have no anchors; with it they read the file as it is."""
    bare = model(spec((1, 2, 4), "uint8", 0.02, 180, 1), spec((1, 2, 2), "uint8", 1 / 256, 0, 2))
    described = replace(bare, tflite_metadata=TfliteMetadata("", "", "", (), (), {"DETECTOR_METADATA": b"anchors"}))
    how = replace(resolve(model(SHARES), DetectorConfig(decoder="classifier")), decoder="anchors")
    assert "DETECTOR_METADATA" in (mediapipe.unreadable(bare, how) or "")
    assert mediapipe.unreadable(described, how) is None
