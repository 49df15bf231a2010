"""The child that a candidate runs in: `python -m vedette.validate.candidate_child`.

Invariants: it begins as `probe_child` does, and may fail as that may; one question in, one answer out, until the parent
leaves. Frames come in memory that it may only read. Until it looks at its first live frame its processor time is
bounded; from then on it runs only where nobody else wants to. The proof is made with as many threads as the device
uses, all looks with one: several that are interrupted spin while they wait for each other, which nobody can measure.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from vedette._lib.child import MESSAGE_BYTES
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile, read_model
from vedette.types import Box, Frame
from vedette.validate import golden
from vedette.validate.verify import stills_of
from vedette.vision import images, probe_child
from vedette.vision.geometry import WHOLE
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve

if TYPE_CHECKING:
    from vedette.vision.interpreter import Interpreter

PROBE_NICE = 10
"""Low, but not the least: a probe on a busy board must end within its time."""
_NOISE = (48, 64, 3)


def main() -> NoReturn:
    """Answer until the parent leaves."""
    link, request = probe_child.begin()
    _for_each_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, PROBE_NICE))
    _bound_processor_time(request.pop("cpu_s"))
    session = Session(**request)
    question: dict[str, Any] = {"do": "load"}
    fds: list[int] = []
    while True:
        probe_child.send_response(link, probe_child.result_or_refusal(session.path, _work(session, question, fds)))
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
        if not message:
            sys.exit(0)
        question = json.loads(message)


class ProcessorClock:
    """A `ports.Clock` that moves as this process computes: being interrupted by others takes no time on it."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that all threads computed together."""
        return probe_child.cpu_time_ns()

    def utc_now(self) -> datetime:
        """Wall clock."""
        return datetime.now(UTC)


class Session:
    """One model, and how it is to look: at its golden frames as its bundle says, at live ones as the device does."""

    def __init__(self, detector: str, roi: list[float] | None, **request: Any) -> None:
        self.path = str(request["path"])
        self._request = request
        self._config = DetectorConfig.model_validate_json(detector)
        self._roi = Box(*roi) if roi else WHOLE
        self._interpreter: Interpreter | None = None
        self._share = 1.0
        self._detector: LocalDetector | None = None
        self._live: bool | None = None
        self._settled = False
        self._pixels = memoryview(b"")

    def answer(self, question: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Do what is asked. Raises: ModelError, DetectError, SourceInvalid (a golden frame that is no picture)."""
        match question["do"]:
            case "load":
                return self._load()
            case "golden":
                return self._look(self._stills[question["number"]], live=False)
            case _:
                self._settle()
                for fd in fds:
                    self._pixels = _mapped(fd)
                return self._look(self._frame(question["height"], question["width"]), live=True)

    def _load(self) -> dict[str, Any]:
        request = self._request
        interpreter, runs = probe_child.load(**request)
        proof = probe_child.proof_fields(interpreter, request["sha256"], runs)
        alone = runs
        if interpreter.threads > 1:
            interpreter.close()
            interpreter, alone = probe_child.load(**{**request, "threads": 1})
        self._interpreter = interpreter
        alone_ms = min(run.cpu_ms for run in alone)
        self._share = min(1.0, min(run.wall_ms for run in runs) / alone_ms) if alone is not runs else 1.0
        noise = np.random.default_rng(0).integers(0, 256, _NOISE, np.uint8)
        self._look(images.frame_of(noise.data), live=True)      # what decodes is tried here as well
        return {"proof": proof, "invoke_ms": alone_ms * self._share}

    def _look(self, frame: Frame, *, live: bool) -> dict[str, Any]:
        if self._detector is None or self._live != live:
            self._detector, self._live = self._open(live), live
        result = self._detector.detect(frame)
        return {"invoke_ms": result.timing.invoke_ms * self._share,
                "detections": [[found.class_id, round(found.score or 0.0, 6), *(round(edge, 6) for edge in found.box)]
                               for found in result.detections]}

    def _open(self, live: bool) -> LocalDetector:
        """Return a detector on the one interpreter; the last one must not be used any more."""
        assert self._interpreter is not None  # noqa: S101 - for the type checker: `load` is the first question
        model = self._model
        spec = resolve(model, self._config if live else DetectorConfig(model=model.path))
        return LocalDetector(self._interpreter, model, spec, roi=self._roi if live else WHOLE, clock=ProcessorClock())

    def _frame(self, height: int, width: int) -> Frame:
        now_ns = time.monotonic_ns()
        pixels = self._pixels[:height * width * 3].cast("B", (height, width, 3))
        return Frame(1, pixels, now_ns, datetime.now(UTC), now_ns)

    def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        _bound_processor_time(None)
        _for_each_thread(lambda thread: os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0)))

    @cached_property
    def _model(self) -> ModelFile:
        return read_model(Path(self.path))

    @cached_property
    def _stills(self) -> tuple[Frame, ...]:
        frames = golden.read(self._model)
        if frames is None:
            raise ModelUnsupported(f"{self.path}: has no golden frames any more")
        return stills_of(frames)


def _work(session: Session, question: dict[str, Any], fds: list[int]) -> Callable[[], dict[str, Any]]:
    return lambda: session.answer(question, fds)


def _mapped(fd: int) -> memoryview:
    try:
        return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ))
    finally:
        os.close(fd)


def _bound_processor_time(seconds: float | None) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most if seconds is None else math.ceil(seconds), most))


def _for_each_thread(change: Callable[[int], None]) -> None:
    """Change the priority of every thread there is; those to come inherit it from the one that starts them."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):      # forbidden by a filter: then it competes, as any child does
            change(int(thread.name))


if __name__ == "__main__":
    main()
