"""A candidate in its child: a sound one looks as the daemon would; whatever a bad one does, nobody else is harmed."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.support.fakes import make_result
from tests.support.models import bad_detectors, bundles, tiny_detectors
from tests.support.models.mutation import Base, mutant
from tests.support.waiting.fair_clock import fair_s
from tests.support.waiting.until import wait_until
from vedette.camera.street.scene import HELD_OUT_SEED, Scene
from vedette.config.models import DetectorConfig
from vedette.errors import (
    ModelBadlyQuantised,
    ModelDamaged,
    ModelError,
    ModelMismatched,
    ModelTooSlow,
    ModelUnproven,
    ModelUnreadable,
    ModelUnsupported,
)
from vedette.tflite.file import read_model
from vedette.types import Frame
from vedette.validate.candidate import Candidate
from vedette.validate.candidate_child import PROBE_NICE
from vedette.validate.frame_tap import FrameTap
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.local import open_detector

RUNTIME, _ = chosen_runtime("auto")
BOX = Path(__file__).parents[2] / "models" / "vedette-street.tflite"
ONE = DetectorConfig(threads=1)
MUTANTS = 40
# Popen says so of a child that was not dead within the two seconds that a kill is given.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


def patient(path, detector, **settings) -> Candidate:
    """A candidate with time enough for a starved machine, where it is not told otherwise."""
    return Candidate(path, detector, **{"probe_timeout_s": 120, "look_timeout_s": 120, **settings})


@pytest.fixture(autouse=True)
def unharmed():
    """Whatever happens to a child, no process and no descriptor is left of it."""
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    gc.collect()
    assert wait_until(lambda: children() == [])     # a niced one takes a while to die where others want to run
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def children() -> list[int]:
    """Process ids of ours that run a child's module, once they do."""
    pids = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return [int(pid) for pid in pids if b"_child\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def street(number: int = 700, width: int = 288, height: int = 162) -> Frame:
    pixels = np.empty((height, width, 3), np.uint8)
    Scene(HELD_OUT_SEED, width, height, 30.0).render(number, pixels)
    return Frame(number, pixels.data, time.monotonic_ns(), datetime.now(UTC), time.monotonic_ns())


@pytest.fixture
def tap():
    tap = FrameTap()
    yield tap
    tap.close()


def tapped(tap: FrameTap, frame: Frame):
    tap.want()
    tap(make_result(frame))
    return tap.take(0)


# a sound model

def test_a_sound_bundle_passes_the_probe():
    """Its report tells what it is, how it was proven, how long it takes and how it did on its golden frames."""
    with patient(BOX, DetectorConfig(threads=2), sha256=read_model(BOX).sha256) as candidate:
        report = candidate.probe()
    assert (report.name, report.labels[0], report.golden.agrees) == ("vedette-street", "person", True)
    assert (report.proof.runtime, report.proof.threads, report.proof.lasting) == (RUNTIME, 2, True)
    assert report.invoke_ms > 0


def test_it_looks_as_the_daemon_would(tap):
    """The same detections as the detector of these settings in this process, of any size of frame, without a probe."""
    settings = DetectorConfig(model=BOX, threads=1, score_threshold=0.3, labels={"car": 0.45}, deny=("bus",))
    roi = (0.1, 0.0, 1.0, 0.9)
    detector = open_detector(settings, roi)
    seen = 0
    with patient(BOX, settings.model_copy(update={"model": None}), roi=roi) as candidate:
        for number, width, height in ((700, 288, 162), (2600, 288, 162), (2600, 640, 360), (700, 96, 96)):
            frame = street(number, width, height)
            look = candidate.look(tapped(tap, frame))
            expected = detector.detect(frame).detections
            assert [(found.label, found.class_id) for found in look.detections] == [
                (found.label, found.class_id) for found in expected]
            assert np.allclose([found.box for found in look.detections], [found.box for found in expected], atol=1e-5)
            assert 0 < look.invoke_ms < look.total_ms
            seen += len(expected)
    detector.close()
    assert seen > 0


def test_golden_frames_are_judged_as_their_maker_meant_them():
    """However this device is set: high thresholds, unwanted labels or a region of interest change no verdict."""
    settings = DetectorConfig(threads=1, score_threshold=0.99, deny=("person", "car"))
    with patient(BOX, settings, roi=(0.4, 0.4, 0.6, 0.6)) as candidate:
        assert candidate.probe().golden.agrees


def test_one_child_serves_probe_and_looks_and_yields_to_all(tap):
    """It is the first to die when memory is short, and after the probe it runs only where nobody else wants to."""
    with patient(BOX, ONE) as candidate:
        assert candidate.pid is None
        candidate.probe()
        pid = candidate.pid
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert os.getpriority(os.PRIO_PROCESS, pid) == PROBE_NICE
        for number in range(3):
            candidate.look(tapped(tap, street(700 + number)))
            assert candidate.pid == pid
        threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
        assert children() == [pid]


def test_a_loose_model_has_no_golden_frames(tmp_path):
    """It is proven and timed all the same."""
    with patient(tiny_detectors.write(tmp_path), ONE) as candidate:
        assert candidate.probe().golden is None


def test_being_interrupted_makes_no_model_slow(tap):
    """On a board whose processors are all busy, what it would take undisturbed is told, not what it took."""
    with patient(BOX, ONE) as candidate:
        candidate.probe()
        shown = tapped(tap, street())
        alone_ms = min(candidate.look(shown).invoke_ms for _ in range(10))
        burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
        try:
            looks = [candidate.look(shown) for _ in range(5)]
        finally:
            for process in burning:
                process.kill()
                process.wait()
    assert max(look.total_ms for look in looks) > 3 * alone_ms
    assert sorted(look.invoke_ms for look in looks)[2] < 2.5 * alone_ms + 0.5


def test_an_interrupted_probe_says_nothing_of_the_model():
    """Before the child is there as well as after: no time is lost, and the file is not to blame."""
    for earlier in (True, False):
        candidate = patient(BOX, ONE)
        if not earlier:
            candidate.probe()
        candidate.interrupt()
        with pytest.raises(ModelUnproven, match=r"interrupted|SIGKILL"):
            candidate.probe()
        assert candidate.pid is None


# models and children that fail

def refused(path: Path, kind: type[ModelError], words: str, **settings: object) -> str:
    """Probe a file that must be refused so; returns the words."""
    candidate = patient(path, ONE, **settings)
    with pytest.raises(kind, match=words) as refusal:
        candidate.probe()
    assert str(path) in str(refusal.value)
    assert candidate.pid is None
    return str(refusal.value)


def test_what_crashes_at_load_is_refused(tmp_path):
    """By the signal it died of, or by the runtime's words where that one saw it coming."""
    path = bad_detectors.divides_by_zero(tmp_path)
    if RUNTIME == "tflite-runtime":
        refused(path, ModelDamaged, "the child loading it was killed by SIGFPE")
    else:
        refused(path, ModelUnsupported, "failed to invoke.*DIV")


def test_what_hangs_at_load_is_ended_in_its_time(tmp_path):
    """A model that computes for a minute; on tflite-runtime the second try may end otherwise."""
    start = fair_s()
    refused(bad_detectors.takes_minutes(tmp_path), ModelDamaged, "longer than 2 s|SIG", probe_timeout_s=2)
    assert fair_s() - start < 12


def test_a_memory_hog_is_refused(tmp_path):
    """Its arena is larger than the child may have."""
    refused(bad_detectors.memory_hog(tmp_path), ModelError, "memory|cannot build it|SIG", memory_bytes=400 << 20)


def test_a_badly_quantised_export_is_refused(tmp_path):
    """Before anything is started for it."""
    refused(bad_detectors.badly_quantised(tmp_path), ModelBadlyQuantised, "no score exceeds 0.0996")


def test_a_slow_model_is_refused():
    """By what it takes undisturbed, against the budget."""
    refused(BOX, ModelTooSlow, r"takes [\d.]+ ms for a frame; expected at most 0.001", latency_budget_ms=0.001)


@pytest.mark.parametrize(("shift", "words"), [(1, "missing: "), (-1, "missing: ")])
def test_shifted_labels_are_refused(tmp_path, shift, words):
    """The golden frames tell; the command that knows the cause is named."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    lines = read_model(path).attachments["labels.txt"].decode().splitlines()
    wrong = bundles.altered(path, files={"labels.txt": "\n".join(["?", *lines] if shift > 0 else lines[1:]).encode()})
    said = refused(wrong, ModelMismatched, words)
    assert "`vedette model verify` looks for the cause" in said


def test_another_models_golden_frames_are_refused(tmp_path):
    """They say nothing of this one."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    theirs = {name: content for name, content in read_model(bundles.pack(tmp_path)).attachments.items()
              if name.startswith("golden/")}
    refused(bundles.altered(path, files=theirs), ModelMismatched, "another model's golden frames")


def test_a_golden_frame_that_is_no_picture_is_refused(tmp_path):
    """Decoded in the child, where harm is done to nobody."""
    path = tmp_path / "street.tflite"
    path.write_bytes(BOX.read_bytes())
    name = next(name for name in read_model(path).attachments if name.endswith(".png"))
    refused(bundles.altered(path, files={name: b"no picture"}), ModelUnsupported, "not an image that OpenCV knows")


def test_another_file_than_promised_is_refused(tmp_path):
    """By its digest, before it is loaded; a missing one as well."""
    refused(BOX, ModelDamaged, "expected SHA-256 0000", sha256="0" * 64)
    refused(tmp_path / "absent.tflite", ModelUnreadable, "No such file")


def test_mutated_detectors_harm_nobody(tmp_path):
    """Refused in words or really run: never anything else. On tflite-runtime some kill the child."""
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


# children that are harmed from outside

def settled_child(candidate: Candidate, shown) -> int:
    candidate.probe()
    candidate.look(shown)
    assert candidate.pid is not None
    return candidate.pid


def test_a_child_stopped_at_load_is_ended():
    """Nothing hangs with it."""
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(lambda: refused(BOX, ModelUnproven, r"loading it in a child took longer than 2 s",
                                              probe_timeout_s=2))
        while not probing.done():       # tflite-runtime's is tried twice
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for pid in children():
                    os.kill(pid, signal.SIGSTOP)
        probing.result()


@pytest.mark.parametrize(("number", "kind", "words"), [
    (signal.SIGSEGV, ModelDamaged, "the child looking at a frame was killed by SIGSEGV"),
    (signal.SIGKILL, ModelUnproven, "the child looking at a frame was killed by SIGKILL")])
def test_a_child_that_dies_before_a_look_is_told(tap, number, kind, words):
    """By its signal; somebody else's SIGKILL says nothing lasting of the model. Then nothing more can be asked."""
    with patient(BOX, ONE) as candidate:
        shown = tapped(tap, street())
        os.kill(settled_child(candidate, shown), number)
        with pytest.raises(kind, match=words) as refusal:
            candidate.look(shown)
        assert type(refusal.value) is kind
        with pytest.raises(ModelDamaged, match="its child has ended"):
            candidate.look(shown)


def test_a_child_killed_in_the_midst_of_a_look_is_told(tap):
    """At once, not after the time-out."""
    with patient(BOX, ONE, look_timeout_s=60) as candidate, ThreadPoolExecutor(1) as pool:
        shown = tapped(tap, street())
        pid = pool.submit(settled_child, candidate, shown).result()
        os.kill(pid, signal.SIGSTOP)        # so that the look is under way for as long as we need
        stopped = wait_until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text())
        looking = pool.submit(candidate.look, shown)
        asked = stopped and wait_until(lambda: unread(candidate) > 0)
        start = fair_s()
        os.kill(pid, signal.SIGKILL)
        assert asked
        with pytest.raises(ModelUnproven, match="killed by SIGKILL"):
            looking.result()
        assert fair_s() - start < 10


def unread(candidate: Candidate) -> int:
    """Bytes that the child was sent and has not read."""
    link = candidate._child._child.socket
    return int.from_bytes(fcntl.ioctl(link, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_a_child_stopped_in_a_look_is_ended(tap):
    """After the time-out of a look."""
    with patient(BOX, ONE, look_timeout_s=5) as candidate:
        shown = tapped(tap, street())
        os.kill(settled_child(candidate, shown), signal.SIGSTOP)
        with pytest.raises(ModelUnproven, match=r"looking at a frame in a child took longer than 5 s"):
            candidate.look(shown)


@pytest.mark.parametrize(("lie", "words"), [
    ({"proof": {"sha256": "0" * 64}}, "about another file"), ({"proof": {"threads": 7}}, "about another file"),
    ({"proof": {"invoke_ms": "soon"}}, "invalid response"), ({"load": {"invoke_ms": -1}}, "invalid response"),
    ({"load": {"invoke_ms": float("nan")}}, "invalid response"), ({"load": {"proof": None}}, "invalid response"),
    ({"load": {"refused": "SystemExit", "words": ""}}, "invalid response"), ({"raw": "{"}, "invalid response"),
    ({"raw": "x" * 60_000}, "invalid response"),
    ({"look": {"detections": [[0, 0.9, 0.1, 0.1, 1.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": [[-1, 0.9, 0.1, 0.1, 0.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": [[0, float("nan"), 0.1, 0.1, 0.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": "many"}}, "invalid response"), ({"look": {"invoke_ms": float("inf")}}, "invalid response"),
    ({"look": {"detections": []}}, "missing: "),
    ({"look": {"refused": "InvokeFailed", "words": f"{BOX}: no"}}, "no")])
def test_a_child_that_lies_is_not_believed(monkeypatch, lie, words):
    """Neither of another file nor of what cannot be."""
    monkeypatch.setenv("LIE", json.dumps(lie))
    refused(BOX, ModelError, words, child_module="tests.validate.lying_child")


def test_a_child_that_hangs_up_and_does_not_end_proves_nothing(monkeypatch):
    """As one that was killed while the machine has no time to end it: the file is not to blame."""
    monkeypatch.setenv("LIE", json.dumps({"hangs_up": True}))
    refused(BOX, ModelUnproven, "the child loading it hung up", child_module="tests.validate.lying_child")


def test_a_module_that_is_no_child_is_told():
    """One that ends at once."""
    refused(BOX, ModelDamaged, "ended with exit code 1", child_module="vedette.no_such_module")
