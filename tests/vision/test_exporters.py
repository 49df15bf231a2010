"""Every exporter's head of the table is decoded right, or it is refused in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import constant_heads
from tests.support.models.exporters import Exporter, document, table
from tests.support.models.tiny_detectors import frame
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported
from vedette.tflite.file import read_model
from vedette.types import Detection
from vedette.vision.interpreter import Interpreter
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.vision.normalization import Normalization
from vedette.vision.open import open_detector
from vedette.vision.output_check import find_doubts

TABLE = table()


def detect(path: Path, **keys: object) -> tuple[str, tuple[Detection, ...]]:
    """Return the decoder and what it detects in a grey frame, as the daemon does, but without a child."""
    detector = DetectorConfig.model_validate({"model": path, **keys})
    model, interpreter = read_model(path), Interpreter(path)
    model = replace(model, outputs=interpreter.outputs)
    try:
        outputs = [interpreter.output(index) for index in range(len(interpreter.outputs))]
        doubts = find_doubts(model, interpreter.inputs[0], interpreter.input(0), interpreter.invoke, outputs)
        spec = resolve(model, detector, doubts)
        local = LocalDetector(interpreter, model, spec)
        outputs = []
        return spec.decoder, local.detect(frame(320, 320)).detections
    finally:
        interpreter.close()


@pytest.mark.parametrize("row", TABLE, ids=[row.title for row in TABLE])
def test_decoded_right_or_refused(row: Exporter, tmp_path: Path) -> None:
    """A known head gives the one thing that is there; a foreign one is refused, and the words say why."""
    path = constant_heads.write(tmp_path, *row.outputs, files=row.files or None, planar=row.planar)
    if row.decoder is None:
        with pytest.raises(ModelUnsupported, match=row.words) as refused:
            detect(path)
        assert "detector.decoder" in str(refused.value)
        return
    decoder, found = detect(path)
    assert decoder == row.decoder
    assert len(found) == 1
    if decoder.startswith("yolo"):
        np.testing.assert_allclose(found[0].box, constant_heads.CORNERS, atol=0.002)
        assert found[0].score == pytest.approx(0.72 if decoder == "yolox" else 0.8, abs=0.002)
        assert found[0].class_id == (0 if row.files == {"labels.txt": b"person\n"} or row.head == "one class" else 16)


def test_the_table_is_long_and_its_page_is_current() -> None:
    """At least thirty exporters and heads; the page in docs is written from them."""
    assert len(TABLE) >= 30
    assert (Path(__file__).parents[2] / "docs" / "exporters.md").read_text() == document()


def test_a_stated_decoder_wins(tmp_path: Path) -> None:
    """A head that is refused runs with the decoder that the configuration states."""
    pose = next(row for row in TABLE if row.head == "pose, 0-1")
    path = constant_heads.write(tmp_path, *pose.outputs)
    assert detect(path, decoder="yolov8")[0] == "yolov8"
    depth = next(row for row in TABLE if row.name == "MiDaS")
    assert detect(constant_heads.write(tmp_path, *depth.outputs), decoder="fomo")[0] == "fomo"


def test_the_proof_of_a_child_carries_the_doubts(tmp_path: Path) -> None:
    """The whole road, through a child: a pose is refused, and YOLOX gives its one thing."""
    pose = next(row for row in TABLE if row.head == "pose, 0-1")
    with pytest.raises(ModelUnsupported, match="keypoints of a pose model"):
        open_detector(DetectorConfig(model=constant_heads.write(tmp_path, *pose.outputs)))
    yolox = next(row for row in TABLE if row.decoder == "yolox")
    opened = open_detector(DetectorConfig(model=constant_heads.write(tmp_path, *yolox.outputs)))
    assert [found.class_id for found in opened.detect(frame(320, 320)).detections] == [16]
    assert (opened.spec.color, opened.spec.normalization) == ("bgr", Normalization((0.0,), (1.0,)))
    opened.close()
