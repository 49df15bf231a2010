"""A candidate in its child: a sound one detects like the daemon; a bad one can harm only its child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from tests.support.models import bad_detectors, bundles, tiny_detectors
from tests.support.models.candidates import BOX, ONE, children, patient, refused, street, tapped
from tests.support.models.mutation import Base, mutant
from tests.support.present import present
from tests.support.waiting.fair_clock import fair_s
from tests.support.waiting.until import wait_until
from vedette.config.models import DetectorConfig
from vedette.errors import (
    ModelBadlyQuantised,
    ModelDamaged,
    ModelError,
    ModelMismatched,
    ModelUnproven,
    ModelUnreadable,
    ModelUnsupported,
)
from vedette.tflite.file import read_model
from vedette.validate.candidate_child import PROBE_NICE
from vedette.validate.frame_tap import FrameTap
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.open import open_detector

RUNTIME, _ = chosen_runtime("auto")
MUTANTS = 40
# Popen warns of a child that does not end within two seconds after a kill.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
              pytest.mark.usefixtures("unharmed")]


# a sound model

def test_a_sound_bundle_passes_the_probe() -> None:
    """The report has its name, its proof, its time and the result on its golden frames."""
    with patient(BOX, DetectorConfig(threads=2), sha256=read_model(BOX).sha256) as candidate:
        report = candidate.probe()
    assert (report.name, report.labels[0], present(report.golden).agrees) == ("vedette-street", "person", True)
    assert (report.proof.runtime, report.proof.threads, report.proof.lasting) == (RUNTIME, 2, True)
    assert report.invoke_ms > 0


def test_it_detects_like_the_daemon(tap: FrameTap) -> None:
    """Without a probe, and for any frame size, it gives the detections of a detector with these settings."""
    settings = DetectorConfig(model=BOX, threads=1, score_threshold=0.3, labels={"car": 0.45}, deny=("bus",))
    roi = (0.1, 0.0, 1.0, 0.9)
    detector = open_detector(settings, roi)
    seen = 0
    with patient(BOX, settings.model_copy(update={"model": None}), roi=roi) as candidate:
        for number, width, height in ((700, 288, 162), (2600, 288, 162), (2600, 640, 360), (700, 96, 96)):
            frame = street(number, width, height)
            comparison = candidate.compare(present(tapped(tap, frame)))
            expected = detector.detect(frame).detections
            assert [(found.label, found.class_id) for found in comparison.detections] == [
                (found.label, found.class_id) for found in expected]
            assert np.allclose([found.box for found in comparison.detections], [found.box for found in expected],
                               atol=1e-5)
            assert 0 < comparison.invoke_ms < comparison.total_ms
            seen += len(expected)
    detector.close()
    assert seen > 0


def test_golden_frames_are_judged_with_their_makers_settings() -> None:
    """This device's high thresholds, denied labels or region of interest change no verdict."""
    settings = DetectorConfig(threads=1, score_threshold=0.99, deny=("person", "car"))
    with patient(BOX, settings, roi=(0.4, 0.4, 0.6, 0.6)) as candidate:
        assert present(candidate.probe().golden).agrees


def test_one_child_serves_probe_and_comparisons_and_yields_to_others(tap: FrameTap) -> None:
    """The kernel kills it first when memory is short, and after the probe it runs only when the processor is idle."""
    with patient(BOX, ONE) as candidate:
        before = candidate.pid
        assert before is None
        candidate.probe()
        pid = present(candidate.pid)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert os.getpriority(os.PRIO_PROCESS, pid) == PROBE_NICE
        for number in range(3):
            candidate.compare(present(tapped(tap, street(700 + number))))
            assert candidate.pid == pid
        threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
        assert children() == [pid]


def test_a_loose_model_has_no_golden_frames(tmp_path: Path) -> None:
    """It is proven and its time is measured too."""
    with patient(tiny_detectors.write(tmp_path), ONE) as candidate:
        assert candidate.probe().golden is None


def test_invoke_ms_does_not_count_interruptions(tap: FrameTap) -> None:
    """On a board whose processors are all busy, `invoke_ms` is the time of an undisturbed invoke."""
    with patient(BOX, ONE) as candidate:
        candidate.probe()
        shown = present(tapped(tap, street()))
        alone_ms = min(candidate.compare(shown).invoke_ms for _ in range(10))
        comparisons = []

        def interrupted() -> bool:
            comparisons.append(candidate.compare(shown))
            return comparisons[-1].total_ms > 3 * alone_ms

        burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
        try:
            assert wait_until(interrupted)      # they take a moment to start
            comparisons += [candidate.compare(shown) for _ in range(5)]
        finally:
            for process in burning:
                process.kill()
                process.wait()
    assert median(comparison.invoke_ms for comparison in comparisons) < 2.5 * alone_ms + 0.5


def test_an_interrupted_probe_does_not_blame_the_model() -> None:
    """It ends at once with ModelUnproven, whether the child has started or not."""
    for earlier in (True, False):
        candidate = patient(BOX, ONE)
        if not earlier:
            candidate.probe()
        candidate.interrupt()
        with pytest.raises(ModelUnproven, match=r"interrupted|SIGKILL"):
            candidate.probe()
        assert candidate.pid is None


# models and children that fail

def test_a_model_that_crashes_at_load_is_refused(tmp_path: Path) -> None:
    """The error names the signal, or has the runtime's message where the runtime refuses the model."""
    path = bad_detectors.divides_by_zero(tmp_path)
    if RUNTIME == "tflite-runtime":
        refused(path, ModelDamaged, "the child loading it was killed by SIGFPE")
    else:
        refused(path, ModelUnsupported, "failed to invoke.*DIV")


def test_a_model_that_hangs_at_load_is_ended_within_the_time_limit(tmp_path: Path) -> None:
    """The model computes for a minute; with tflite-runtime the second try may end in another way."""
    start = fair_s()
    refused(bad_detectors.takes_minutes(tmp_path), ModelDamaged, "longer than 2 s|SIG", probe_timeout_s=2)
    assert fair_s() - start < 12


def test_a_memory_hog_is_refused(tmp_path: Path) -> None:
    """Its arena is larger than the child's limit."""
    refused(bad_detectors.memory_hog(tmp_path), ModelError, "memory|cannot build it|SIG", memory_bytes=400 << 20)


def test_a_badly_quantised_export_is_refused(tmp_path: Path) -> None:
    """It is refused before a child is started."""
    refused(bad_detectors.badly_quantised(tmp_path), ModelBadlyQuantised, "no score exceeds 0.0996")


@pytest.mark.parametrize(("shift", "words"), [(1, "missing: "), (-1, "missing: ")])
def test_shifted_labels_are_refused(tmp_path: Path, shift: int, words: str) -> None:
    """The golden frames show the mistake; the error names the command that finds the cause."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    lines = read_model(path).attachments["labels.txt"].decode().splitlines()
    wrong = bundles.altered(path, files={"labels.txt": "\n".join(["?", *lines] if shift > 0 else lines[1:]).encode()})
    said = refused(wrong, ModelMismatched, words)
    assert "`vedette model verify` looks for the cause" in said


def test_another_models_golden_frames_are_refused(tmp_path: Path) -> None:
    """They prove nothing for this model."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    theirs = {name: content for name, content in read_model(bundles.pack(tmp_path)).attachments.items()
              if name.startswith("golden/")}
    refused(bundles.altered(path, files=theirs), ModelMismatched, "another model's golden frames")


def test_a_golden_frame_that_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    """It is decoded in the child, where it can do no harm."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    name = next(name for name in read_model(path).attachments if name.endswith(".png"))
    refused(bundles.altered(path, files={name: b"no picture"}), ModelUnsupported, "not an image that OpenCV knows")


def test_a_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    """It is refused before it is loaded, and so is a missing file."""
    refused(BOX, ModelDamaged, "expected SHA-256 0000", sha256="0" * 64)
    refused(tmp_path / "absent.tflite", ModelUnreadable, "No such file")


def test_mutated_detectors_harm_nobody(tmp_path: Path) -> None:
    """Each is refused with a ModelError or really runs. With tflite-runtime some kill the child."""
    sound = Base("pooling", tiny_detectors.write(tmp_path).read_bytes())
    path, outcomes = tmp_path / "mutant.tflite", set()
    for number in range(MUTANTS):
        path.write_bytes(mutant(number, [sound], []))
        try:
            with patient(path, ONE, probe_timeout_s=60) as candidate:
                candidate.probe()
            outcomes.add("ran")
        except ModelError as refusal:
            outcomes.add(type(refusal).__name__)
    assert {"ran", "ModelUnreadable"} <= outcomes
