"""Runs one model on one runtime with any settings on stills: for packing, verifying and comparing.

Invariants: the file is first proven in a child process; every frame goes through the detector of the daemon. One
thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from vedette.types import WHOLE
from vedette.validate.golden import family_of
from vedette.vision.interpreter import Interpreter
from vedette.vision.local import LocalDetector
from vedette.vision.probe import ensure_proof

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.types import Box, Detection, Frame
    from vedette.validate.golden import Family
    from vedette.vision.model_spec import ModelSpec


class Runner:
    """Owns the interpreter; its detectors must not be used after `close`.

    Raises: ModelError, InvokeFailed, RuntimeMissing.
    """

    def __init__(self, model: ModelFile, runtime: str = "auto", threads: int = 1) -> None:
        proof = ensure_proof(model, runtime=runtime, threads=threads, store=None)
        self._model = model
        self._interpreter = Interpreter(model.path, proof.runtime, threads, delegate=proof.delegate,
                                        sha256=model.sha256)
        self._interpreter.invoke()      # the first invoke is slower: it packs the weights
        self.proof = proof
        self.invoke_ms: list[float] = []

    def __repr__(self) -> str:
        return f"<Runner {self._interpreter!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def interpreter(self) -> Interpreter:
        """What runs the model, until `close`."""
        return self._interpreter

    @property
    def family(self) -> Family:
        """The family of runtimes that round like this one."""
        ran = self._interpreter
        return family_of(ran.runtime, delegate=ran.delegate, xnnpack_share=ran.xnnpack_share)

    def detector(self, spec: ModelSpec, roi: Box = WHOLE) -> LocalDetector:
        """Return a detector with these settings; it may be used until the next call."""
        return LocalDetector(self._interpreter, self._model, spec, roi=roi)

    def detect(self, spec: ModelSpec, frames: Iterable[Frame]) -> tuple[tuple[Detection, ...], ...]:
        """Return the detections of each frame, and record the times of the invokes. Raises: DetectError."""
        detector = self.detector(spec)
        results = [detector.detect(frame) for frame in frames]
        self.invoke_ms += [result.timing.invoke_ms for result in results]
        return tuple(result.detections for result in results)

    def close(self) -> None:
        """Free the interpreter. Safe to call twice."""
        self._interpreter.close()
