"""The proof in a child: sound files pass; whatever another file does to the child, the caller gets a clear error."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models import tiny_detectors, writer
from tests.support.models.mutation import mutant, small_bases
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged, ModelError, ModelUnreadable, ModelUnsupported
from vedette.tflite.file import digest, read_model
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.model_child import parse_response
from vedette.vision.model_spec import resolve
from vedette.vision.probe import Proof, ProofStore, ensure_proof, keys_to_send, parse_proof, prove, start_child
from vedette.vision.probe_child import received_keys

pytestmark = pytest.mark.slow

RUNTIME, VERSION = chosen_runtime("auto")
MUTANTS = 100


def write_model(folder: Path, content: bytes, name: str = "model.tflite") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return prove(write_model(tmp_path_factory.mktemp("proof"), writer.logistic()))


def test_a_sound_model_is_proven(proof: Proof) -> None:
    """A sound file gives its digest, the runtime that ran it, its tensors as allocated and its XNNPACK share."""
    assert (proof.runtime, proof.runtime_version, proof.threads) == (RUNTIME, VERSION, 1)
    assert proof.xnnpack_share == 1.0
    assert proof.delegate == (RUNTIME == "tflite-runtime")
    assert proof.invoke_ms > 0
    assert proof.inputs[0].shape == (1, 4, 4, 3)
    assert proof.outputs[0].name == "score"


def test_a_file_that_fails_at_invoke_is_refused(tmp_path: Path) -> None:
    """A file that can be built but fails to run is refused with the runtime's message."""
    with pytest.raises(ModelUnsupported, match=r"RESHAPE|Tensor data is null"):
        prove(write_model(tmp_path, writer.reshape_by_input()))


@pytest.mark.skipif(RUNTIME != "tflite-runtime", reason="LiteRT checks this division; tflite-runtime dies of it")
def test_a_file_that_kills_the_child_is_damaged(tmp_path: Path) -> None:
    """A crash in native code is reported with its signal, and harms only the child."""
    with pytest.raises(ModelDamaged, match="killed by SIGFPE"):
        prove(write_model(tmp_path, writer.division()))


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A tensor that is larger than the child's limit ends the child or the attempt, not the caller."""
    huge = writer.build(writer.Graph(
        [writer.Tensor((1, 20_000, 20_000, 3), "int8", "x"), writer.Tensor((1, 20_000, 20_000, 3), "int8", "y")],
        [writer.Op("ABS", (0,), (1,))], (0,), (1,)))
    with pytest.raises(ModelError):
        prove(write_model(tmp_path, huge), memory_bytes=512 << 20)


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """The time limit ends a child that does not respond, and the error states the limit."""
    with pytest.raises(ModelDamaged, match=r"longer than 0\.001 s"):
        prove(write_model(tmp_path, writer.logistic()), timeout_s=0.001)


def test_another_file_than_promised_is_damaged(tmp_path: Path) -> None:
    """A file with another digest than the expected one is not loaded, not even in the child."""
    with pytest.raises(ModelDamaged, match="expected SHA-256 0000"):
        prove(write_model(tmp_path, writer.logistic()), sha256="0" * 64)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    """A missing file is refused before a child is started."""
    with pytest.raises(ModelUnreadable, match="No such file"):
        prove(tmp_path / "absent.tflite")


@pytest.mark.parametrize("answer", [
    b"\xff\xfe", b"[]", b"{}", b"null", b'{"proof": {}}', b'{"proof": {"sha256": 1}}', b'{"refused": "OSError"}',
    b'"x" ' * 10_000, b"[" * 60_000,
])
def test_an_invalid_response_of_a_child_is_refused(answer: bytes) -> None:
    """A response that is neither a proof nor a refusal, or is cut off, raises ModelDamaged."""
    with pytest.raises(ModelDamaged, match="invalid response"):
        parse_proof(parse_response(answer, "m.tflite"), {"path": "m.tflite", "sha256": "0", "threads": 1})


def test_a_proof_of_another_file_is_refused(proof: Proof) -> None:
    """A response about another file than the requested one raises ModelDamaged."""
    from pydantic import TypeAdapter
    answer = {"proof": TypeAdapter(Proof).dump_python(proof, mode="json")}
    assert parse_proof(answer, {"path": "m", "sha256": proof.sha256, "threads": 1}) == proof
    with pytest.raises(ModelDamaged, match="another file"):
        parse_proof(answer, {"path": "m", "sha256": "0" * 64, "threads": 1})


def test_proofs_survive_a_restart(tmp_path: Path, proof: Proof) -> None:
    """The next store finds what this one remembered, by digest, runtime, version and threads."""
    path = tmp_path / "proofs.json"
    ProofStore(path).remember(proof)
    again = ProofStore(path)
    assert again.find(proof.sha256, RUNTIME, VERSION, 1) == proof
    assert again.find(proof.sha256, RUNTIME, VERSION, 2) is None
    assert again.find(proof.sha256, RUNTIME, "0.0", 1) is None
    assert again.find("0" * 64, RUNTIME, VERSION, 1) is None


def test_another_version_of_vedette_proves_again(tmp_path: Path, proof: Proof) -> None:
    """The reader and the decoders may have changed since, so its proof counts for nothing."""
    store = ProofStore(tmp_path / "proofs.json")
    store.remember(replace(proof, vedette_version="0.0"))
    assert store.find(proof.sha256, RUNTIME, VERSION, 1) is None
    assert not store.knows(proof.sha256)
    store.remember(proof)
    assert store.find(proof.sha256, RUNTIME, VERSION, 1) == proof
    assert store.knows(proof.sha256)


def test_a_child_that_was_started_early_proves_the_model(tmp_path: Path) -> None:
    """It handles the request, and has ended afterwards; a known file gets none."""
    file = digest(write_model(tmp_path, writer.logistic()))
    store = ProofStore(tmp_path / "proofs.json")
    with start_child(file, store) as child:
        pid = present(child).pid
        assert ensure_proof(file, runtime="auto", threads=1, store=store, child=child).sha256 == file.sha256
        assert not Path(f"/proc/{pid}").exists()
    with start_child(file, store) as child:
        assert child is None


def test_nothing_slow_is_imported_before_the_child_starts() -> None:
    """What opens a detector imports no numpy and no OpenCV; the child never imports OpenCV and pydantic."""
    code = ("import sys, vedette.vision.open; print([m for m in ('numpy', 'cv2') if m in sys.modules]); "
            "import vedette.vision.local")
    child = ("import sys, vedette.vision.probe_child as child; child.import_early(); "
             "print([m for m in ('pydantic', 'cv2', 'yaml') if m in sys.modules])")
    for each in (code, child):
        ended = subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True, timeout=240)
        assert ended.stdout == "[]\n"


def test_the_child_gets_the_keys_as_they_are(tmp_path: Path) -> None:
    """Plain values decide in the same way as the configuration that they come from."""
    labels = tmp_path / "names.txt"
    labels.write_text("ant\nbee\ncow\n")
    path = tiny_detectors.write(tmp_path)
    model = read_model(path)
    for keys in (DetectorConfig(), DetectorConfig(
            model=path, threads=1, score_threshold=0.25, iou_threshold=0.75, max_detections=7, labels={"ant": 0.5},
            allow=("ant", "bee"), deny=("cow",), labels_file=labels, decoder="fomo", color="bgr", resize="stretch",
            mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))):
        sent = json.loads(json.dumps(keys_to_send(keys)))
        assert resolve(model, received_keys(**sent)) == resolve(model, keys)


def test_the_store_keeps_the_newest_proofs(tmp_path: Path, proof: Proof) -> None:
    """A new proof of the same file replaces the old one, and the oldest of many are dropped."""
    store = ProofStore(tmp_path / "proofs.json")
    for threads in range(1, 51):
        store.remember(replace(proof, threads=threads))
        store.remember(replace(proof, threads=threads, invoke_ms=9.0))
    assert repr(store).endswith("32 proofs>")
    assert store.find(proof.sha256, RUNTIME, VERSION, 18) is None
    assert store.find(proof.sha256, RUNTIME, VERSION, 50) == replace(proof, threads=50, invoke_ms=9.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[{}]", b'{"a": 1}', b"\xff"])
def test_a_damaged_store_counts_as_empty(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A store that cannot be read only causes a new proof and a line in the log."""
    path = tmp_path / "proofs.json"
    path.write_bytes(content)
    assert repr(ProofStore(path)).endswith(" 0 proofs>")
    assert "proven again" in caplog.text


def test_a_store_that_cannot_be_written_is_logged(tmp_path: Path, proof: Proof,
                                                  caplog: pytest.LogCaptureFixture) -> None:
    """A proof that cannot be written is still known in this run."""
    store = ProofStore(tmp_path / "absent" / "proofs.json")
    store.remember(proof)
    assert store.find(proof.sha256, RUNTIME, VERSION, 1) == proof
    assert "cannot be stored" in caplog.text


def test_a_known_model_needs_no_child(tmp_path: Path) -> None:
    """The second request uses the store, and does not read the file."""
    path = write_model(tmp_path, writer.logistic())
    model = read_model(path)
    store = ProofStore(tmp_path / "proofs.json")
    first = ensure_proof(model, runtime="auto", threads=1, store=store)
    path.unlink()
    assert ensure_proof(model, runtime="auto", threads=1, store=ProofStore(tmp_path / "proofs.json")) == first


@pytest.mark.slow
def test_every_mutant_is_refused_or_runs(tmp_path: Path) -> None:
    """Mutated files are refused with a ModelError or really run. The caller survives and keeps no descriptor."""
    bases = small_bases()
    gc.collect()      # else garbage of other tests could go during this test and hide a leak
    before = len(list(Path("/proc/self/fd").iterdir()))

    def check(number: int) -> str:
        path = write_model(tmp_path, mutant(number, bases, []), f"{number}.tflite")
        try:
            prove(path, sha256=read_model(path).sha256, timeout_s=20)
        except ModelError:
            return "refused"
        return "loaded"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(check, range(MUTANTS)))
    assert len(outcomes) == MUTANTS
    assert {"refused", "loaded"} == set(outcomes)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_refusal_is_never_remembered(tmp_path: Path) -> None:
    """A file that failed once is tried again, and so is a file that replaces it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(writer.reshape_by_input())
    store = ProofStore(tmp_path / "proofs.json")
    for _ in range(2):
        with pytest.raises(ModelUnsupported):
            ensure_proof(read_model(path), runtime="auto", threads=1, store=store)
    assert repr(store).endswith("0 proofs>")
    path.write_bytes(writer.logistic())
    assert ensure_proof(read_model(path), runtime="auto", threads=1, store=store).sha256 == read_model(path).sha256


@pytest.mark.skipif(RUNTIME != "tflite-runtime", reason="only there Vedette's own delegate is tried first")
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_fallback_for_lack_of_time_or_memory_is_never_remembered(tmp_path: Path, number: signal.Signals) -> None:
    """If the first try takes too long or is killed from outside, this run falls back; the next run tries again."""
    model = read_model(write_model(tmp_path, writer.logistic()))
    store = ProofStore(tmp_path / "proofs.json")
    with ThreadPoolExecutor(1) as pool:
        proving = pool.submit(ensure_proof, model, runtime="auto", threads=1, store=store, timeout_s=6)
        assert wait_until(lambda: probe_child() is not None)
        os.kill(present(probe_child()), number)
        fallen_back = proving.result()
    assert not fallen_back.delegate
    assert ("longer than 6 s" if number == signal.SIGSTOP else "SIGKILL") in present(fallen_back.delegate_note)
    assert repr(ProofStore(tmp_path / "proofs.json")).endswith(" 0 proofs>")
    assert ensure_proof(model, runtime="auto", threads=1, store=store).delegate
    assert repr(ProofStore(tmp_path / "proofs.json")).endswith(" 1 proofs>")


def probe_child() -> int | None:
    """Process id of this process's probe child."""
    pids = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return next((int(pid) for pid in pids if b"probe_child" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)


def test_the_child_needs_a_parent() -> None:
    """Started by hand, the child's module ends at once with a message and does not wait for a request."""
    ended = subprocess.run([sys.executable, "-m", "vedette.vision.probe_child"], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=240)
    assert ended.returncode != 0
