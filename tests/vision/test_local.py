"""The local detector whole: a real interpreter, a model whose answers can be worked out by hand, then the real ones."""

from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from tests.support.models import tiny_detectors, writer
from tests.support.models.tiny_detectors import frame
from tests.support.truth import decoder_references as reference
from vedette.config.models import DetectorConfig
from vedette.errors import InvokeFailed, ModelDamaged, ModelUnreadable, ModelUnsupported, OutputInvalid
from vedette.tflite.file import read_model
from vedette.types import Box, Frame
from vedette.vision.geometry import LEAST_SIDE, WHOLE
from vedette.vision.interpreter import Interpreter
from vedette.vision.local import LocalDetector, open_detector
from vedette.vision.model_spec import resolve
from vedette.vision.probe import ProofStore, proof_of

GREEN, BLUE = 1, 0
LEFT, RIGHT, TOP, BOTTOM = slice(0, 32), slice(32, 64), slice(0, 24), slice(24, 48)
YOLO8, YOLO5, SSD = "yolov8n_416_coco_int8", "yolov5n_320_1class_uint8", "ssd_mobilenet_v1_coco_uint8_metadata"


class Clock:
    """Each look is a millisecond after the last."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000

    def monotonic_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def utc_now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def opened(tmp_path):
    """Opens the small model, or another, without a child; closes what it opened."""
    detectors = []

    def build(path=None, *, clock=None, roi=WHOLE, **keys):
        path = path or tiny_detectors.write(tmp_path)
        model = read_model(path)
        detectors.append(LocalDetector(Interpreter(path), model, resolve(model, DetectorConfig(**keys)), roi=roi,
                                       clock=clock))
        return detectors[-1]
    yield build
    for detector in detectors:
        detector.close()


def found(detector, seen):
    return [(each.label, each.class_id, each.box) for each in detector.detect(seen).detections]


def test_boxes_labels_and_colours(opened):
    """A green and a blue quarter of the frame become a leaf and a sky where they are; red is background."""
    seen = frame(64, 48, (TOP, LEFT, GREEN), (BOTTOM, RIGHT, BLUE), (TOP, RIGHT, 2))
    assert sorted(found(opened(), seen)) == [("leaf", 1, Box(0, 0, 0.5, 0.5)), ("sky", 2, Box(0.5, 0.5, 1, 1))]


def test_the_wrong_colour_order_sees_other_things(opened):
    """With bgr the same blue quarter is background and the red one is sky."""
    seen = frame(64, 48, (BOTTOM, RIGHT, BLUE), (TOP, RIGHT, 2))
    assert found(opened(color="bgr"), seen) == [("sky", 2, Box(0.5, 0, 1, 0.5))]


def test_a_letterbox_is_undone(opened):
    """In a wide frame letterboxed into a square, a cell half of padding yields the half that is frame."""
    detector = opened(resize="letterbox", score_threshold=0.4)
    assert found(detector, frame(64, 32, (slice(0, 16), LEFT, GREEN))) == [("leaf", 1, Box(0, 0, 0.5, 0.5))]


def test_what_is_found_in_the_padding_takes_nobodys_place(opened, tmp_path):
    """A better score for a box that only touches the frame yields no detection, and leaves the one place to another."""
    rows = np.zeros((5, 21), np.float32)      # a YOLO that always answers the same: cx, cy, w, h, score
    rows[:, 0] = 0.5, 0.125, 0.5, 0.25, 0.9
    rows[:, 1] = 0.5, 0.5, 0.5, 0.25, 0.8
    path = tmp_path / "stubborn.tflite"
    path.write_bytes(writer.build(writer.Graph(
        [writer.Tensor((1, 32, 32, 3), "int8", "image", (1 / 255,), (-128,)),
         writer.Tensor((1, 5, 21), "float32", "boxes", data=rows.tobytes())], [], (0,), (1,))))
    detector = opened(path, decoder="yolov8", resize="letterbox", max_detections=1)
    assert [(each.score, each.box) for each in detector.detect(frame(64, 32)).detections] == [
        (pytest.approx(0.8), (0.25, 0.25, 0.75, 0.75))]


def test_a_region_of_interest_is_undone(opened):
    """Only the region is shown to the model; boxes are of the whole frame."""
    detector = opened(roi=Box(0.5, 0.5, 1, 1))
    seen = frame(64, 64, (slice(0, 32), slice(0, 64), GREEN), (slice(32, 48), slice(32, 48), BLUE))
    assert found(detector, seen) == [("sky", 2, Box(0.5, 0.5, 0.75, 0.75))]


def test_frames_may_change_their_size(opened):
    """Frames of another size go through the same tensor, each with its own way back."""
    detector = opened()
    for width, height in ((64, 48), (17, 33), (64, 48)):
        assert found(detector, frame(width, height, (slice(None), slice(None), GREEN))) == [
            ("leaf", 1, Box(0, 0, 1, 1))]


def test_where_the_time_went(opened):
    """Wait, prepare, invoke, decode and age are measured on the clock handed in."""
    result = opened(clock=Clock()).detect(frame(64, 48, captured_ns=2_000_000))
    timing = result.timing
    assert (timing.wait_ms, timing.prepare_ms, timing.invoke_ms, timing.decode_ms) == (4, 1, 1, 1)
    assert (result.age_ms, result.source, result.frame.seq) == (7, "local", 7)
    assert result.model.name == "pooling"


def test_limits_change_between_two_frames(opened):
    """Live keys apply from the next frame on: thresholds, lists, the maximum."""
    detector = opened()
    seen = frame(64, 48, (TOP, LEFT, GREEN), (BOTTOM, RIGHT, BLUE))
    detector.reload(DetectorConfig(deny=("sky",)))
    assert [label for label, *_ in found(detector, seen)] == ["leaf"]
    detector.reload(DetectorConfig(labels={"leaf": 1.0}))
    assert [label for label, *_ in found(detector, seen)] == ["sky"]
    detector.limits = replace(detector.limits, labels={}, max_detections=1)
    assert len(found(detector, seen)) == 1


def test_facts(opened):
    """The facts name the model, the runtime and how the model is run."""
    detector = opened()
    facts = detector.facts
    assert (facts.model.name, facts.decoder, facts.labels) == ("pooling", "fomo", ("background", "leaf", "sky"))
    assert (facts.input_width, facts.input_height, facts.threads) == (16, 16, 1)
    assert repr(detector).startswith("<LocalDetector pooling fomo on <Interpreter pooling.tflite")


def test_closed_is_closed(opened):
    """Closing twice is safe; a frame after that is an error, not a crash."""
    detector = opened()
    detector.close()
    detector.close()
    with pytest.raises(InvokeFailed, match="closed"):
        detector.detect(frame(64, 48))


def test_open_proves_once(tmp_path):
    """The first opening proves the file in a child, the second takes the proof that is kept."""
    path = tiny_detectors.write(tmp_path)
    config = DetectorConfig(model=path, threads=1)
    store = ProofStore(tmp_path / "proofs.json")
    for _ in range(2):
        open_detector(config, None, store).close()
    assert repr(store).endswith("1 proofs>")
    detector = open_detector(config, (0.5, 0.0, 1.0, 1.0), ProofStore(tmp_path / "proofs.json"))
    assert found(detector, frame(64, 64, (slice(None), RIGHT, BLUE))) == [("sky", 2, Box(0.5, 0, 1, 1))]
    detector.close()


def test_what_cannot_be_opened(tmp_path):
    """No model, a file that is none, a bundle of another flatbuffer, one that fails at invoke: each its own error."""
    with pytest.raises(ModelUnreadable, match=r"detector\.model"):
        open_detector(DetectorConfig())
    with pytest.raises(ModelUnreadable):
        open_detector(DetectorConfig(model=tmp_path / "nothing.tflite"))
    damaged = tiny_detectors.write(tmp_path, {"vedette.json": b'{"sha256": "00"}'})
    with pytest.raises(ModelDamaged):
        open_detector(DetectorConfig(model=damaged))
    failing = tmp_path / "failing.tflite"
    failing.write_bytes(writer.reshape_by_input())
    with pytest.raises(ModelUnsupported):
        open_detector(DetectorConfig(model=failing))


def test_the_digest_is_held_and_the_variant_travels(tmp_path):
    """A file of another digest than the one promised is not opened; results carry the label of an A/B release."""
    config = DetectorConfig(model=tiny_detectors.write(tmp_path), threads=1)
    with pytest.raises(ModelDamaged, match="expected SHA-256 abab"):
        open_detector(config, sha256="ab" * 32)
    sha256 = read_model(config.model).sha256
    detector = open_detector(config, sha256=sha256, variant="B")
    assert detector.facts.model.variant == "B"
    detector.close()


def test_shapes_that_a_file_only_claims_decide_nothing(tmp_path):
    """A file whose stated output is not what running it gives is refused, or decoded as what it really gives."""
    wrong = tiny_detectors.write(tmp_path, claims=(1, 4 + 3, 5))
    with pytest.raises(ModelUnsupported, match="three axes"):
        open_detector(DetectorConfig(model=wrong, decoder="yolov8", threads=1))
    detector = open_detector(DetectorConfig(model=tiny_detectors.write(tmp_path, claims=(1, 8, 8, 3)), threads=1))
    assert found(detector, frame(64, 48, (TOP, LEFT, GREEN))) == [("leaf", 1, Box(0, 0, 0.5, 0.5))]
    detector.close()


def test_a_remembered_fallback_keeps_its_reason(tmp_path):
    """A proof that fell back to the plain interpreter says why at every start, not only at the first."""
    path = tiny_detectors.write(tmp_path)
    store = ProofStore(tmp_path / "proofs.json")
    config = DetectorConfig(model=path, threads=1)
    proof = replace(proof_of(read_model(path), runtime=config.runtime, threads=1, store=None),
                    delegate=False, delegate_note="no XNNPACK delegate of ours: it crashed")
    store.remember(proof)
    detector = open_detector(config, None, ProofStore(tmp_path / "proofs.json"))
    assert detector.facts.warnings == ("no XNNPACK delegate of ours: it crashed",)
    detector.close()


def test_a_frame_that_failed_leaves_the_interpreter_usable(opened, tmp_path):
    """After an error the next frame is looked at as if nothing had been: nothing stays taken."""
    detector = opened(tiny_detectors.write(tmp_path, dtype="float32"), mean=(0,), std=(1e-36,))
    for _ in range(2):
        with pytest.raises(OutputInvalid):
            detector.detect(frame(16, 16, (slice(None), slice(None), GREEN)))     # its mean overflows
        assert [label for label, *_ in found(detector, frame(16, 16, (0, 0, GREEN)))] == ["leaf"]


@pytest.mark.parametrize(("name", "threshold"), [
    (YOLO8, 0.3), (YOLO8, 0.01), ("yolo11n_224_coco_int8", 0.1), (YOLO5, 0.2), (SSD, 0.2), (SSD, 0.5),
    ("yolo11n_256_litert_export_random_weights", 0.4), ("mediapipe_modelmaker_256_car_uint8", 0.1),
    ("ssd_tf2_320_outputs_reordered", 0.1), ("mobilenet_v2_224_imagenet_uint8", 0.05)])
def test_real_outputs_agree_with_the_reference(real, opened, name, threshold):
    """On real models' real outputs every decoder and the NMS agree with their references, box for box."""
    detector = opened(real / "models" / f"{name}.tflite", score_threshold=threshold, max_detections=100)
    sizes = {}
    for path in (real / "images" / "cats_and_dogs.jpg", *sorted((real / "coco" / "images").iterdir())[:3]):
        pixels = cv2.imread(str(path))
        result = detector.detect(Frame(1, pixels.data, 0, datetime.now(UTC), 0))
        expected = [(row[0], row[1], *on_frame(detector, row)) for row in referenced(detector)]
        seen = [(each.score, each.class_id, *each.box) for each in result.detections]
        np.testing.assert_allclose(np.array(seen).reshape(-1, 6), np.array(expected).reshape(-1, 6), atol=1e-6)
        sizes[path.name] = len(expected)
    assert sum(sizes.values()) > 0


def on_frame(detector, row):
    return detector._writer._placement.to_frame(Box(*row[2:]))


def referenced(detector):
    """Decode the interpreter's last outputs and suppress what shows of them on the frame, the plain way."""
    running, spec, limits = detector._interpreter, detector.spec, detector.limits
    raw = [reference.real(running.output(place), tensor) for place, tensor in enumerate(running.outputs)]
    thresholds, most = limits.thresholds(spec.labels), limits.max_candidates
    if spec.decoder == "ssd":
        op = next(op for op in detector._model.ops if op.name == "TFLite_Detection_PostProcess")
        places = {tensor.index: place for place, tensor in enumerate(running.outputs)}
        return reference.ssd(*(raw[places[index]] for index in op.outputs), thresholds, limits.max_detections)
    if spec.decoder == "classifier":
        return reference.classes(raw[0], thresholds, limits.max_detections)
    if spec.decoder == "anchors":
        rows = reference.anchored(*raw, thresholds, most, spec.input.width, spec.input.height)
    else:
        rows = {"yolov8": reference.yolov8, "yolov5": reference.yolov5}[spec.decoder](raw[0], thresholds, most)
    sides = [(box.xmax - box.xmin, box.ymax - box.ymin) for box in (on_frame(detector, row) for row in rows)]
    rows = [row for row, side in zip(rows, sides, strict=True) if min(side) > LEAST_SIDE]
    return reference.suppressed(rows, limits.iou_threshold, limits.max_detections)
