"""Opens a detector of a model file.

Invariants: the model was read and proven in a child process before it is read and loaded here, and its bytes are the
same. What is slow to import is imported here while that child starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.config.camera_values import region_of
from vedette.errors import InvokeFailed, ModelError, ModelUnreadable, ModelUnsupported
from vedette.tflite.file import digest, read_model
from vedette.tflite.model_errors import model_errors_only
from vedette.vision.interpreter import Interpreter
from vedette.vision.probe import ProofStore, ensure_proof, start_child

if TYPE_CHECKING:
    from vedette.config.models import DetectorConfig
    from vedette.vision.local import LocalDetector


def open_detector(detector: DetectorConfig, roi: tuple[float, float, float, float] | None = None,
                  proofs: ProofStore | None = None, *, sha256: str | None = None,
                  variant: str | None = None, probe_s: float | None = None) -> LocalDetector:
    """Open the configured model: prove it in a child unless `proofs` has its proof, read it, build it, invoke it once.

    `variant` is stated in its results. `probe_s`: `timeout_s` of `probe.prove`. Raises: ModelError (every leaf;
    ModelDamaged also for a file without the digest `sha256`), RuntimeMissing.
    """
    if detector.model is None:
        raise ModelUnreadable("detector.model is not set; expected the path of a .tflite file")
    file = digest(detector.model, sha256)
    with start_child(file, proofs) as child:
        from vedette.vision.local import LocalDetector
        from vedette.vision.model_spec import resolve
        proof = ensure_proof(file, runtime=detector.runtime, threads=detector.threads, store=proofs, detector=detector,
                             timeout_s=probe_s, child=child)
    model = read_model(detector.model, sha256=file.sha256, pictures=False)
    spec = resolve(model, detector, proof.doubts)
    interpreter = Interpreter(detector.model, proof.runtime, detector.threads, delegate=proof.delegate,
                              sha256=model.sha256)
    interpreter.delegate_note = interpreter.delegate_note or proof.delegate_note
    interpreter.choice = proof.choice
    try:
        interpreter.invoke()    # the first invoke is slower: it packs the weights
        with model_errors_only(detector.model):
            return LocalDetector(interpreter, model, spec, roi=region_of(roi), variant=variant)
    except InvokeFailed as failure:
        interpreter.close()
        raise ModelUnsupported(str(failure)) from failure
    except ModelError:
        interpreter.close()
        raise
