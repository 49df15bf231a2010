"""The detector on this device: frame in, detection result out, with one TFLite interpreter.

Invariants:
- One thread at a time owns it. Any thread may call `reload`: a frame gets the old limits and region or the new ones,
  never some of both. Its boxes are mapped back from the region that the model was given.
- The decoder is built for the tensors as the runtime allocated them, not for the shapes that the file states.
- The boxes of a result lie inside the part of the frame that the model was given, and have an area.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from vedette._lib.clock import SystemClock
from vedette.errors import InvokeFailed
from vedette.types import WHOLE, Box, Detection, DetectionResult, DetectorFacts, ModelRef, Timing
from vedette.vision.geometry import Placement
from vedette.vision.labels import label_of
from vedette.vision.model_spec import build_decoder, limits_of
from vedette.vision.nms import Candidate, suppress
from vedette.vision.prepare import InputWriter

if TYPE_CHECKING:
    from vedette.config.models import DetectorConfig
    from vedette.ports import Clock
    from vedette.tflite.file import ModelFile
    from vedette.types import Frame, Scaling
    from vedette.vision.any_interpreter import AnyInterpreter
    from vedette.vision.decoders.base import Array, DecodeLimits
    from vedette.vision.limits import Limits
    from vedette.vision.model_spec import ModelSpec


class LocalDetector:
    """Implements `ports.Detector`. Takes over the interpreter and closes it."""

    def __init__(self, interpreter: AnyInterpreter, model: ModelFile, spec: ModelSpec, *, roi: Box = WHOLE,
                 clock: Clock | None = None, variant: str | None = None) -> None:
        self._interpreter = interpreter
        self._model = model
        self._spec = spec
        self._clock = clock or SystemClock()
        self._decoder = build_decoder(replace(model, outputs=interpreter.outputs), spec)
        self._writer: InputWriter | None = InputWriter(
            interpreter.input(0), interpreter.inputs[0], spec.input, color=spec.color, resize=spec.resize,
            normalization=spec.normalization)
        self._outputs: tuple[Array, ...] = tuple(map(interpreter.output, range(len(interpreter.outputs))))
        self._ref = ModelRef(name=spec.name, version=spec.version, sha256=model.sha256, variant=variant)
        self._use(spec.limits, roi)

    def __repr__(self) -> str:
        return f"<LocalDetector {self._spec.name} {self._spec.decoder} on {self._interpreter!r}>"

    @property
    def spec(self) -> ModelSpec:
        """How the model is run, and what decided each part of that."""
        return self._spec

    @property
    def facts(self) -> DetectorFacts:
        """What runs and how."""
        running, spec = self._interpreter, self._spec
        notes = (running.delegate_note,) if running.delegate_note else ()
        return DetectorFacts(
            model=self._ref, runtime=running.runtime, runtime_version=running.runtime_version,
            xnnpack_share=running.xnnpack_share, threads=running.threads, decoder=spec.decoder,
            input_width=spec.input.width, input_height=spec.input.height, labels=spec.labels,
            warnings=spec.warnings + notes, runtime_choice=running.choice or None)

    @property
    def scaling(self) -> Scaling | None:
        """The scaling that the camera may do in advance, for frames of the last size."""
        return self._writer.scaling if self._writer else None

    @property
    def limits(self) -> Limits:
        """What counts as a detection, from the next frame on."""
        return self._settings[0]

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._use(limits, self._settings[2])

    def reload(self, detector: DetectorConfig, roi: Box) -> None:
        """Apply the live keys of a configuration that was read again."""
        self._use(limits_of(self._model, detector), roi)

    def detect(self, frame: Frame) -> DetectionResult:
        """Detect in one frame. Raises: InvokeFailed, OutputInvalid."""
        now_ns = self._clock.monotonic_ns
        taken_ns = now_ns()
        limits, decode_limits, roi = self._settings
        placement = self._write(frame, roi)
        prepared_ns = now_ns()
        self._interpreter.invoke()
        invoked_ns = now_ns()
        detections = self._read(placement, limits, decode_limits)
        ready_ns = now_ns()
        return DetectionResult(
            frame=frame, detections=detections, model=self._ref, source="local", roi=roi,
            timing=Timing(wait_ms=(taken_ns - frame.handed_over_ns) / 1e6,
                          prepare_ms=(prepared_ns - taken_ns) / 1e6,
                          invoke_ms=(invoked_ns - prepared_ns) / 1e6,
                          decode_ms=(ready_ns - invoked_ns) / 1e6),
            age_ms=(ready_ns - frame.captured_ns) / 1e6)

    def close(self) -> None:
        """Free the interpreter. Safe to call twice."""
        self._writer, self._outputs = None, ()      # views first: a remaining one keeps the interpreter's memory alive
        self._interpreter.close()

    def _write(self, frame: Frame, roi: Box) -> Placement:
        if self._writer is None:
            raise InvokeFailed(f"{self._spec.name}: the detector is closed")
        if self._interpreter.moved:     # a view of a tensor that was moved points at freed memory
            raise InvokeFailed(f"{self._spec.name}: changed the size of its outputs before")
        return self._writer.write(frame, roi)

    def _read(self, placement: Placement, limits: Limits, decode_limits: DecodeLimits) -> tuple[Detection, ...]:
        visible = (each for each in self._decoder.decode(self._outputs, decode_limits) if placement.shows(each.box))
        kept = islice(visible, limits.max_detections) if self._decoder.suppressed else \
            suppress(visible, limits.iou_threshold, limits.max_detections)
        return tuple(self._detection(candidate, placement) for candidate in kept)

    def _use(self, limits: Limits, roi: Box) -> None:
        self._settings = limits, self._decoder.compile_limits(limits, self._spec.labels), roi

    def _detection(self, candidate: Candidate, placement: Placement) -> Detection:
        class_id = candidate.class_id
        return Detection(label=label_of(self._spec.labels, class_id), class_id=class_id, score=candidate.score,
                         box=placement.to_frame(candidate.box))
