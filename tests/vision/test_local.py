"""The whole local detector: a real interpreter, a model that can be calculated by hand, then the real models."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.models import tiny_detectors, writer
from tests.support.models.tiny_detectors import frame
from tests.support.present import present
from tests.support.truth import decoder_references as reference
from vedette.config.models import DetectorConfig
from vedette.errors import InvokeFailed, ModelDamaged, ModelUnreadable, ModelUnsupported, OutputInvalid
from vedette.tflite.file import read_model
from vedette.types import WHOLE, Box, Frame
from vedette.vision.geometry import LEAST_SIDE
from vedette.vision.interpreter import Interpreter
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.vision.open import open_detector
from vedette.vision.probe import Proof, ProofStore, ensure_proof

Open = Callable[..., LocalDetector]
GREEN, BLUE = 1, 0
LEFT, RIGHT, TOP, BOTTOM = slice(0, 32), slice(32, 64), slice(0, 24), slice(24, 48)
YOLO8, YOLO5, SSD = "yolov8n_416_coco_int8", "yolov5n_320_1class_uint8", "ssd_mobilenet_v1_coco_uint8_metadata"


class Clock:
    """Each reading is a millisecond after the previous one."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000

    def monotonic_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def utc_now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the small model, or another one, without a child; close it after the test."""
    detectors: list[LocalDetector] = []

    def build(path: Path | None = None, *, clock: Clock | None = None, roi: Box = WHOLE,
              **keys: Any) -> LocalDetector:
        path = path or tiny_detectors.write(tmp_path)
        model = read_model(path)
        detectors.append(LocalDetector(Interpreter(path), model, resolve(model, DetectorConfig(**keys)), roi=roi,
                                       clock=clock))
        return detectors[-1]
    yield build
    for detector in detectors:
        detector.close()


def found(detector: LocalDetector, seen: Frame) -> list[tuple[str, int | None, Box]]:
    return [(each.label, each.class_id, each.box) for each in detector.detect(seen).detections]


def test_boxes_labels_and_colours(opened: Open) -> None:
    """A green and a blue quarter of the frame become a leaf and a sky at their places; red is background."""
    seen = frame(64, 48, (TOP, LEFT, GREEN), (BOTTOM, RIGHT, BLUE), (TOP, RIGHT, 2))
    assert sorted(found(opened(), seen)) == [("leaf", 1, Box(0, 0, 0.5, 0.5)), ("sky", 2, Box(0.5, 0.5, 1, 1))]


def test_the_wrong_colour_order_gives_other_labels(opened: Open) -> None:
    """With bgr the same blue quarter is background and the red one is sky."""
    seen = frame(64, 48, (BOTTOM, RIGHT, BLUE), (TOP, RIGHT, 2))
    assert found(opened(color="bgr"), seen) == [("sky", 2, Box(0.5, 0, 1, 0.5))]


def test_a_letterbox_is_undone(opened: Open) -> None:
    """In a wide frame letterboxed into a square, a cell that is half padding gives only the half in the frame."""
    detector = opened(resize="letterbox", score_threshold=0.4)
    assert found(detector, frame(64, 32, (slice(0, 16), LEFT, GREEN))) == [("leaf", 1, Box(0, 0, 0.5, 0.5))]


def test_a_detection_in_the_padding_does_not_count(opened: Open, tmp_path: Path) -> None:
    """A box that only touches the frame gives no detection, and takes no place from a box with a lower score."""
    rows = np.zeros((5, 21), np.float32)      # a YOLO with constant output: cx, cy, w, h, score
    rows[:, 0] = 0.5, 0.125, 0.5, 0.25, 0.9
    rows[:, 1] = 0.5, 0.5, 0.5, 0.25, 0.8
    path = tmp_path / "constant.tflite"
    path.write_bytes(writer.build(writer.Graph(
        [writer.Tensor((1, 32, 32, 3), "int8", "image", (1 / 255,), (-128,)),
         writer.Tensor((1, 5, 21), "float32", "boxes", data=rows.tobytes())], [], (0,), (1,))))
    detector = opened(path, decoder="yolov8", resize="letterbox", max_detections=1)
    (only,) = detector.detect(frame(64, 32)).detections
    assert only.score == pytest.approx(0.8)
    assert only.box == (0.25, 0.25, 0.75, 0.75)


def test_a_region_of_interest_is_undone(opened: Open) -> None:
    """The model gets only the region; boxes are of the whole frame."""
    detector = opened(roi=Box(0.5, 0.5, 1, 1))
    seen = frame(64, 64, (slice(0, 32), slice(0, 64), GREEN), (slice(32, 48), slice(32, 48), BLUE))
    assert found(detector, seen) == [("sky", 2, Box(0.5, 0.5, 0.75, 0.75))]


def test_frames_may_change_their_size(opened: Open) -> None:
    """Frames of another size use the same tensor, and their boxes are mapped back correctly."""
    detector = opened()
    for width, height in ((64, 48), (17, 33), (64, 48)):
        assert found(detector, frame(width, height, (slice(None), slice(None), GREEN))) == [
            ("leaf", 1, Box(0, 0, 1, 1))]


def test_timing_of_a_result(opened: Open) -> None:
    """Wait, prepare, invoke, decode and age are measured with the injected clock."""
    result = opened(clock=Clock()).detect(frame(64, 48, captured_ns=2_000_000))
    timing = result.timing
    assert (timing.wait_ms, timing.prepare_ms, timing.invoke_ms, timing.decode_ms) == (4, 1, 1, 1)
    assert (result.age_ms, result.source, result.frame.seq) == (7, "local", 7)
    assert present(result.model).name == "pooling"


def test_limits_change_between_two_frames(opened: Open) -> None:
    """Live keys apply from the next frame on: thresholds, label lists, the maximum."""
    detector = opened()
    seen = frame(64, 48, (TOP, LEFT, GREEN), (BOTTOM, RIGHT, BLUE))
    detector.reload(DetectorConfig(deny=("sky",)), WHOLE)
    assert [label for label, *_ in found(detector, seen)] == ["leaf"]
    detector.reload(DetectorConfig(labels={"leaf": 1.0}), WHOLE)
    assert [label for label, *_ in found(detector, seen)] == ["sky"]
    detector.limits = replace(detector.limits, labels={}, max_detections=1)
    assert len(found(detector, seen)) == 1


QUARTERS = (WHOLE, Box(0, 0, 0.5, 0.5), Box(0.5, 0, 1, 0.5), Box(0, 0.5, 0.5, 1), Box(0.5, 0.5, 1, 1))


class StageClock(Clock):
    """Has the configuration reloaded while a frame is at the stage `stage`, counted from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = -1
        self.reload: Callable[[], None] = lambda: None

    def monotonic_ns(self) -> int:
        if self.stage == 0:
            self.reload()
        self.stage -= 1
        return super().monotonic_ns()


@pytest.mark.parametrize("stage", range(4), ids=["taken", "prepared", "invoked", "decoded"])
def test_a_reload_at_any_stage_of_a_frame_mixes_nothing(opened: Open, stage: int) -> None:
    """Its boxes are right, and so are those of the next frame: of the region and the limits before, or of those after.

    In each quarter of the frame a leaf and a sky have another place. With each region only one of them is wanted.
    """
    cells = [slice(8 * number, 8 * number + 8) for number in range(8)]
    seen = frame(64, 64, (cells[0], cells[1], GREEN), (cells[1], cells[0], BLUE), (cells[0], cells[6], GREEN),
                 (cells[3], cells[4], BLUE), (cells[4], cells[2], GREEN), (cells[6], cells[3], BLUE),
                 (cells[5], cells[5], GREEN), (cells[7], cells[7], BLUE))
    wanted = [(roi, DetectorConfig(allow=(("leaf", "sky")[number % 2],), score_threshold=0.05))
              for number, roi in enumerate(QUARTERS)]
    alone = {}
    for roi, config in wanted:
        detector = opened(roi=roi)
        detector.reload(config, roi)
        alone[roi] = found(detector, seen)
    assert len({tuple(boxes) for boxes in alone.values()}) == len(QUARTERS)
    clock = StageClock()
    detector = opened(clock=clock)
    detector.reload(wanted[0][1], WHOLE)
    for roi, config in (*wanted[1:], *reversed(wanted), *wanted[::2]):
        before = detector.detect(seen).roi
        clock.stage, clock.reload = stage, partial(detector.reload, config, roi)
        under_way = detector.detect(seen)
        after = detector.detect(seen)
        assert (under_way.roi, after.roi) == (roi if stage == 0 else before, roi)
        for result in (under_way, after):
            assert [(each.label, each.class_id, each.box) for each in result.detections] == alone[result.roi]


def test_facts(opened: Open) -> None:
    """The facts name the model, the runtime and how the model is run."""
    detector = opened()
    facts = detector.facts
    assert (facts.model.name, facts.decoder, facts.labels) == ("pooling", "fomo", ("background", "leaf", "sky"))
    assert (facts.input_width, facts.input_height, facts.threads) == (16, 16, 1)
    assert repr(detector).startswith("<LocalDetector pooling fomo on <Interpreter pooling.tflite")


def test_a_closed_detector_raises(opened: Open) -> None:
    """`close` may be called twice; a frame after that raises an error and does not crash."""
    detector = opened()
    detector.close()
    detector.close()
    with pytest.raises(InvokeFailed, match="closed"):
        detector.detect(frame(64, 48))


def test_open_proves_once(tmp_path: Path) -> None:
    """The first opening proves the file in a child; the second uses the stored proof."""
    path = tiny_detectors.write(tmp_path)
    config = DetectorConfig(model=path, threads=1)
    store = ProofStore(tmp_path / "proofs.json")
    for _ in range(2):
        open_detector(config, None, store).close()
    assert repr(store).endswith("1 proofs>")
    detector = open_detector(config, (0.5, 0.0, 1.0, 1.0), ProofStore(tmp_path / "proofs.json"))
    assert found(detector, frame(64, 64, (slice(None), RIGHT, BLUE))) == [("sky", 2, Box(0.5, 0, 1, 1))]
    detector.close()


class SwappingStore(ProofStore):
    """While a proof is looked up, somebody replaces the model's file."""

    def __init__(self, path: Path, model: Path, content: bytes) -> None:
        super().__init__(path)
        self._model = model
        self._content = content

    def find(self, sha256: str, runtime: str, runtime_version: str, threads: int) -> Proof | None:
        self._model.write_bytes(self._content)
        return super().find(sha256, runtime, runtime_version, threads)


def test_only_the_bytes_that_were_proven_are_opened(tmp_path: Path) -> None:
    """A file that is replaced after its digest was taken is refused: nobody has proven the new one."""
    path = tiny_detectors.write(tmp_path)
    config = DetectorConfig(model=path, threads=1)
    open_detector(config, None, ProofStore(tmp_path / "proofs.json")).close()
    (tmp_path / "other").mkdir()
    other = tiny_detectors.write(tmp_path / "other", {"labels.txt": b"ground\ntree\ncloud\n"}).read_bytes()
    with pytest.raises(ModelDamaged):
        open_detector(config, None, SwappingStore(tmp_path / "proofs.json", path, other))


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """No model, a missing file, a bundle of another flatbuffer, a failing invoke: each raises its own error."""
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


def test_digest_is_checked_and_variant_is_published(tmp_path: Path) -> None:
    """A file with another digest than the expected one is not opened; results state the variant of an A/B release."""
    config = DetectorConfig(model=tiny_detectors.write(tmp_path), threads=1)
    with pytest.raises(ModelDamaged, match="expected SHA-256 abab"):
        open_detector(config, sha256="ab" * 32)
    sha256 = read_model(present(config.model)).sha256
    detector = open_detector(config, sha256=sha256, variant="B")
    assert detector.facts.model.variant == "B"
    detector.close()


def test_allocated_shapes_decide_and_not_stated_ones(tmp_path: Path) -> None:
    """A file that states another output shape than it has is refused, or decoded by its real shape."""
    wrong = tiny_detectors.write(tmp_path, claims=(1, 4 + 3, 5))
    with pytest.raises(ModelUnsupported, match="three axes"):
        open_detector(DetectorConfig(model=wrong, decoder="yolov8", threads=1))
    detector = open_detector(DetectorConfig(model=tiny_detectors.write(tmp_path, claims=(1, 8, 8, 3)), threads=1))
    assert found(detector, frame(64, 48, (TOP, LEFT, GREEN))) == [("leaf", 1, Box(0, 0, 0.5, 0.5))]
    detector.close()


def test_a_remembered_fallback_keeps_its_reason(tmp_path: Path) -> None:
    """Every start says why the proof fell back to the plain interpreter, not only the first."""
    path = tiny_detectors.write(tmp_path)
    store = ProofStore(tmp_path / "proofs.json")
    config = DetectorConfig(model=path, threads=1)
    proof = replace(ensure_proof(read_model(path), runtime=config.runtime, threads=1, store=None),
                    delegate=False, delegate_note="Vedette's XNNPACK delegate cannot be used: it crashed")
    store.remember(proof)
    detector = open_detector(config, None, ProofStore(tmp_path / "proofs.json"))
    assert detector.facts.warnings == ("Vedette's XNNPACK delegate cannot be used: it crashed",)
    detector.close()


def test_a_frame_that_failed_leaves_the_interpreter_usable(opened: Open, tmp_path: Path) -> None:
    """After an error the next frame is detected as usual: nothing stays locked."""
    detector = opened(tiny_detectors.write(tmp_path, dtype="float32"), mean=(0,), std=(1e-36,))
    for _ in range(2):
        with pytest.raises(OutputInvalid):
            detector.detect(frame(16, 16, (slice(None), slice(None), GREEN)))     # its mean overflows
        assert [label for label, *_ in found(detector, frame(16, 16, (slice(0, 1), slice(0, 1), GREEN)))] == ["leaf"]


@pytest.mark.parametrize(("name", "threshold"), [
    (YOLO8, 0.3), (YOLO8, 0.01), ("yolo11n_224_coco_int8", 0.1), (YOLO5, 0.2), (SSD, 0.2), (SSD, 0.5),
    ("yolo11n_256_litert_export_random_weights", 0.4), ("mediapipe_modelmaker_256_car_uint8", 0.1),
    ("ssd_tf2_320_outputs_reordered", 0.1), ("mobilenet_v2_224_imagenet_uint8", 0.05)])
def test_real_outputs_agree_with_the_reference(real: Path, opened: Open, name: str, threshold: float) -> None:
    """On outputs of real models every decoder and the NMS agree with their references, box for box."""
    detector = opened(real / "models" / f"{name}.tflite", score_threshold=threshold, max_detections=100)
    sizes = {}
    for path in (real / "images" / "cats_and_dogs.jpg", *sorted((real / "coco" / "images").iterdir())[:3]):
        pixels = present(cv2.imread(str(path)))
        result = detector.detect(Frame(1, pixels.data, 0, datetime.now(UTC), 0))
        expected = [(row[0], row[1], *on_frame(detector, row)) for row in referenced(detector)]
        seen = [(each.score, each.class_id, *each.box) for each in result.detections]
        np.testing.assert_allclose(np.array(seen).reshape(-1, 6), np.array(expected).reshape(-1, 6), atol=1e-6)
        sizes[path.name] = len(expected)
    assert sum(sizes.values()) > 0


def on_frame(detector: LocalDetector, row: reference.Row) -> Box:
    return present(present(detector._writer)._placement).to_frame(Box(*row[2:]))


def referenced(detector: LocalDetector) -> list[reference.Row]:
    """Decode the interpreter's last outputs and suppress the visible boxes, with the plain references."""
    running, spec, limits = detector._interpreter, detector.spec, detector.limits
    raw = [reference.real(running.output(place), tensor) for place, tensor in enumerate(running.outputs)]
    thresholds, most = limits.thresholds(spec.labels), limits.max_candidates
    if spec.decoder == "ssd":
        op = next(op for op in detector._model.ops if op.name == "TFLite_Detection_PostProcess")
        places = {tensor.index: place for place, tensor in enumerate(running.outputs)}
        boxes, class_ids, scores, count = (raw[places[index]] for index in op.outputs)
        return reference.ssd(boxes, class_ids, scores, count, thresholds, limits.max_detections)
    if spec.decoder == "classifier":
        return reference.classes(raw[0], thresholds, limits.max_detections)
    if spec.decoder == "anchors":
        boxes, scores = raw
        rows = reference.anchored(boxes, scores, thresholds, most, spec.input.width, spec.input.height)
    else:
        rows = {"yolov8": reference.yolov8, "yolov5": reference.yolov5}[spec.decoder](raw[0], thresholds, most)
    sides = [(box.xmax - box.xmin, box.ymax - box.ymin) for box in (on_frame(detector, row) for row in rows)]
    rows = [row for row, side in zip(rows, sides, strict=True) if min(side) > LEAST_SIDE]
    return reference.suppressed(rows, limits.iou_threshold, limits.max_detections)
