"""The child that runs one model on both runtimes: `python -m vedette.validate.runtime_child`.

Invariants: it starts like `probe_child`, and may fail in the same ways. The runtimes take turns, so that heat and other
processes disturb both alike. With one thread, processor time counts: it stops while others interrupt the process. It
measures for about a second; for slow models longer, but only while tflite-runtime is the faster one.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.validate.candidate_child import PROBE_NICE
from vedette.validate.verify import stills_of
from vedette.vision import probe_child
from vedette.vision.interpreter import PACKAGES, Interpreter
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.vision.runtime_choice import CLEARLY_FASTER

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile

_TURNS_MIN, _TURNS_MAX = 3, 25
_ENOUGH_S = 1.0


def main() -> None:
    """Handle the parent's one request."""
    link, request = probe_child.begin()
    os.nice(PROBE_NICE)
    probe_child.send_response(link, probe_child.result_or_refusal(request["path"], partial(compare, **request)))


def compare(path: str, threads: int, sha256: str) -> dict[str, Any]:
    """Return the fields of `runtime_choice.Measured`. Raises: ModelError, RuntimeMissing, DetectError, SourceInvalid.
    """
    model = read_model(Path(path), sha256=sha256)
    litert, tflite = (Interpreter(model.path, name, threads, delegate=True, sha256=sha256) for name in PACKAGES)
    random = np.random.default_rng(0)
    litert_ms: list[float] = []
    tflite_ms: list[float] = []
    faster, identical = 0, True
    end_s = time.monotonic() + _ENOUGH_S
    while len(litert_ms) < _TURNS_MAX and (time.monotonic() < end_s or faster == len(litert_ms) < _TURNS_MIN):
        for index in range(len(litert.inputs)):
            probe_child.fill(litert.input(index), random)
            tflite.input(index)[...] = litert.input(index)
        litert_ms.append(_invoke_ms(litert))
        tflite_ms.append(_invoke_ms(tflite))
        faster += tflite_ms[-1] <= CLEARLY_FASTER * litert_ms[-1]
        identical = identical and _outputs(litert) == _outputs(tflite)
    return {"litert_ms": median(litert_ms), "tflite_ms": median(tflite_ms), "faster": faster / len(litert_ms),
            "identical": identical, "golden": _agrees_with_golden_frames(model, tflite) if faster else None}


def _invoke_ms(interpreter: Interpreter) -> float:
    now_ns = time.thread_time_ns if interpreter.threads == 1 else time.perf_counter_ns
    interpreter.invoke()        # the other runtime has just used the caches, and its threads may still spin
    start_ns = now_ns()
    interpreter.invoke()
    return (now_ns() - start_ns) / 1e6


def _outputs(interpreter: Interpreter) -> list[bytes]:
    return [interpreter.output(index).tobytes() for index in range(len(interpreter.outputs))]


def _agrees_with_golden_frames(model: ModelFile, interpreter: Interpreter) -> bool | None:
    """Return whether the golden frames of the interpreter's family agree; None if the model has none."""
    frames = golden.read(model)
    family = golden.family_of(interpreter.runtime, delegate=interpreter.delegate,
                              xnnpack_share=interpreter.xnnpack_share)
    if frames is None or family not in frames.families or frames.flatbuffer_sha256 != model.flatbuffer_sha256:
        return None
    spec = resolve(model, DetectorConfig(model=model.path), probe_child.doubts(interpreter, model))
    detector = LocalDetector(interpreter, model, spec)
    found = [detector.detect(still).detections for still in stills_of(frames)]
    return golden.judge(frames, family, found, spec.limits).agrees


if __name__ == "__main__":
    main()
