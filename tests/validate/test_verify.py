"""Bundles are verified on this runtime, and a failure is reported with its cause."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import bundles, tiny_detectors
from tests.support.models.writer import Graph, Op, Tensor, build, with_zip
from tests.support.present import present
from vedette.detect.box_model import BOX_MODEL
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.validate.verify import Verification, verify
from vedette.vision import bundle
from vedette.vision.interpreter import chosen_runtime

pytestmark = pytest.mark.slow

BYTES = "normalization: the golden frames agree with mean 0, std 256"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.pack(tmp_path_factory.mktemp("sound"))


def states(found: Verification) -> dict[str, str]:
    return {check.name: check.state for check in found.checks}


def expected(path: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(read_model(path).attachments[golden.EXPECTED])
    return expected


def hit(content: bytes, places: list[int]) -> bytes:
    """Return the content with the byte at each place changed."""
    damaged = bytearray(content)
    for place in places:
        damaged[place] ^= 1 + place % 255
    return bytes(damaged)


def test_a_sound_bundle_passes_every_check(sound: Path) -> None:
    """Digest, quantization, a run and the golden frames pass on the runtime that made them."""
    found = verify(sound)
    assert found.passed
    assert set(states(found).values()) == {"passed"}
    judgement = present(found.judgement)
    assert (found.cause, judgement.f1) == (None, 1.0)
    assert judgement.distance == pytest.approx(0, abs=1e-3)
    assert present(found.invoke_ms) > 0


@pytest.mark.parametrize(("settings", "cause"), [
    ({"color": "bgr"}, "color: the golden frames agree with rgb, but the bundle states bgr"),
    ({"resize": "stretch"}, "resize: the golden frames agree with letterbox, but the bundle states stretch"),
    *((({"normalization": {"mean": [mean], "std": [std]}}),
       f"{BYTES}, but the bundle states mean {mean}, std {std} (off by a factor of {factor})")
      for mean, std, factor in ((0, 512, 2), (0, 384, 1.5), (0, 1, 0.004), (127.5, 127.5, 0.498)))],
    ids=["bgr", "stretch", "half", "two-thirds", "bytes", "signed"])
def test_a_wrong_preprocessing_is_named(sound: Path, settings: dict[str, Any], cause: str) -> None:
    """The golden frames fail, and the cause is the one change that makes them agree."""
    found = verify(bundles.altered(sound, **settings))
    assert not found.passed
    assert states(found)["golden frames"] == "failed"
    assert found.cause == cause
    assert present(found.judgement).verdicts[0].differences


@pytest.mark.parametrize(("labels", "cause"), [
    (b"top\nbackground\nleaf\nsky\n", "labels: shifted by one (one too many at the start)"),
    (b"leaf\nsky\nsun\n", "labels: shifted by one (the first one is missing)"),
    (b"background\nsky\nleaf\n", "labels: class id 1 is 'leaf' in the golden frames, but 'sky' in labels.txt")])
def test_wrong_labels_are_named(sound: Path, labels: bytes, cause: str) -> None:
    """The cause says that labels are shifted up or down by one, else which label differs first."""
    assert verify(bundles.altered(sound, files={"labels.txt": labels})).cause == cause


def test_another_models_golden_frames_are_named(sound: Path, tmp_path: Path) -> None:
    """Golden frames of another model's bundle are refused, even if they agree."""
    other = tmp_path / "other.tflite"
    other.write_bytes(tiny_detectors.write(tmp_path).read_bytes().replace(b"made by a test", b"made by a toast"[:14]))
    theirs = read_model(bundles.pack(tmp_path, model=other)).attachments
    found = verify(bundles.altered(sound, files={name: content for name, content in theirs.items()
                                                 if name.startswith("golden/")}))
    assert not found.passed
    assert "another model's golden frames" in present(found.cause)


def test_no_cause_is_invented(sound: Path) -> None:
    """If no change makes the golden frames agree, no cause is named, and the differences are still reported."""
    document = expected(sound)
    for frame in document["frames"].values():
        for found in frame.values():
            found.append({"label": "leaf", "class_id": 1, "score": 0.9, "box": [0.6, 0.1, 0.9, 0.2]})
    found = verify(bundles.altered(sound, files={golden.EXPECTED: json.dumps(document).encode()}))
    assert (found.passed, found.cause) == (False, None)
    assert present(found.judgement).verdicts[0].differences == ("missing: leaf 0.90 (1)",)


def test_eight_random_bytes_are_found_by_the_digest(sound: Path, tmp_path: Path) -> None:
    """A bundle with eight changed bytes does not pass, unless they are in fields of the ZIP without a meaning."""
    content, random_bytes = sound.read_bytes(), random.Random(5)
    whole, path = read_model(sound), tmp_path / "hit.tflite"
    for _ in range(150):
        path.write_bytes(hit(content, random_bytes.sample(range(len(content)), 8)))
        found = verify(path)
        if found.passed:
            now = read_model(path)
            assert (now.flatbuffer_sha256, now.attachments) == (whole.flatbuffer_sha256, whole.attachments)
        else:
            assert states(found)["digest"] == "failed" or not present(found.model).attachments


def test_changed_weights_are_found_before_anything_is_loaded(sound: Path) -> None:
    """A flatbuffer with eight changed bytes fails the digest check, and no later check is made."""
    content, path = sound.read_bytes(), sound.with_name("damaged.tflite")
    size, picture = len(bundle.flatbuffer_of(read_model(sound))), content.index(b"IDAT")
    for seed in range(20):
        # One more in a golden frame: damage there must not hide the digest's answer.
        path.write_bytes(hit(content, [*random.Random(seed).sample(range(size), 8), picture + 8]))
        found = verify(path)
        assert states(found) == {"digest": "failed", "quantization": "unchecked", "runs": "unchecked",
                                 "golden frames": "unchecked"}
        assert "states SHA-256" in found.checks[0].message


def test_another_family_is_judged_by_f1(sound: Path) -> None:
    """With expected detections of another runtime only, rounding passes but a wrong colour order does not."""
    document = expected(sound)
    for frame in document["frames"].values():
        (found,) = frame.values()
        frame.clear()
        frame["another-runtime"] = [{**each, "score": each["score"] - 0.08} for each in found]
    theirs = {golden.EXPECTED: json.dumps(document).encode()}
    assert verify(bundles.altered(sound, files=theirs)).passed
    wrong = verify(bundles.altered(sound, files=theirs, color="bgr"))
    assert (wrong.passed, present(wrong.judgement).family) == (False, "another-runtime")
    assert present(wrong.cause).startswith("color: ")


@pytest.mark.skipif(chosen_runtime("auto")[0] != "litert", reason="only LiteRT brings an XNNPACK of its own")
def test_litert_without_its_xnnpack_is_another_family(sound: Path) -> None:
    """Where LiteRT's own XNNPACK takes no part of the graph, rounding may differ, and the family says so."""
    assert present(verify(sound).judgement).family.startswith("litert-without-xnnpack")
    assert present(verify(BOX_MODEL).judgement).family in ("litert", "litert-arm")


def test_a_detection_at_its_threshold_may_be_missing(sound: Path) -> None:
    """A missing detection is a difference only if its score is well above the threshold."""
    document = expected(sound)
    near, far = ([{"label": "leaf", "class_id": 1, "score": score, "box": [0.6, 0.1, 0.9, 0.2]}]
                 for score in (0.44, 0.46))
    for extra, passes in ((near, True), (far, False)):
        frames = {name: {family: found + extra for family, found in frame.items()}
                  for name, frame in document["frames"].items()}
        files = {golden.EXPECTED: json.dumps({**document, "frames": frames}).encode()}
        assert verify(bundles.altered(sound, files=files)).passed is passes


def test_a_model_without_a_bundle_is_not_verified(tmp_path: Path) -> None:
    """A model without a bundle runs but is not verified, and neither is a bundle without golden frames."""
    plain = tiny_detectors.write(tmp_path)
    found = verify(plain)
    assert not found.passed
    assert states(found) == {"digest": "unchecked", "quantization": "passed", "runs": "passed",
                             "golden frames": "unchecked"}
    assert "no bundle" in found.checks[0].message
    without = verify(bundles.pack(tmp_path, "--color", "rgb", model=plain))
    assert not without.passed
    assert (states(without)["digest"], states(without)["golden frames"]) == ("passed", "unchecked")


def test_scores_that_never_reach_the_threshold_fail_the_quantization_check(tmp_path: Path) -> None:
    """If no integer reaches the threshold, the check fails before the model runs."""
    tensors = [Tensor((1, 16, 16, 3), "int8", "image", (1 / 255,), (-128,)),
               Tensor((1, 2, 2, 3), "int8", "heat", (0.001,), (-128,))]
    pool = (5, [(0, "int8", 1), (1, "int32", 8), (2, "int32", 8), (3, "int32", 8), (4, "int32", 8)])
    path = tmp_path / "faint.tflite"
    path.write_bytes(with_zip(build(Graph(tensors, [Op("AVERAGE_POOL_2D", (0,), (1,), pool)], (0,), (1,))),
                              {"labels.txt": tiny_detectors.LABELS}))
    found = verify(path)
    assert states(found)["quantization"] == "failed"
    assert states(found)["runs"] == "unchecked"


@pytest.mark.parametrize("document", [
    b"[]", b"{}", b"\xff", b'{"flatbuffer_sha256": "x", "frames": {}}',
    b'{"flatbuffer_sha256": "x", "frames": {"gone.png": {"litert": []}}}',
    b'{"flatbuffer_sha256": "x", "frames": {"01-garden.png": {}}}',
    b'{"flatbuffer_sha256": "x", "frames": {"01-garden.png": {"litert": [{"label": "leaf", "score": 2}]}}}'])
def test_an_invalid_golden_document_fails(sound: Path, document: bytes) -> None:
    """The check fails with a clear message for every invalid expected.json."""
    found = verify(bundles.altered(sound, files={golden.EXPECTED: document}))
    assert states(found)["golden frames"] == "failed"
    assert golden.EXPECTED in found.checks[-1].message


def test_a_golden_frame_that_is_not_a_picture_fails(sound: Path) -> None:
    """The message names a PNG of random bytes."""
    found = verify(bundles.altered(sound, files={"golden/01-garden.png": struct.pack("<4I", 1, 2, 3, 4)}))
    assert states(found)["golden frames"] == "failed"
    assert "golden/01-garden.png" in found.checks[-1].message
