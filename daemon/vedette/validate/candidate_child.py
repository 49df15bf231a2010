"""The child that runs a candidate: `python -m vedette.validate.candidate_child`.

Invariants: it starts like `probe_child`, and may fail in the same ways. It sends one response to each request, until
the parent leaves. Frames come in memory that it can only read. Its processor time is bounded until its first live
frame; from then on it runs only when the processor is idle. The proof uses as many threads as the device. All
detections use one thread: several interrupted threads spin while they wait for each other, and that cannot be measured.
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
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from vedette._lib.child import MESSAGE_BYTES
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile, read_model
from vedette.types import WHOLE, Box, Frame
from vedette.validate import golden
from vedette.validate.verify import stills_of
from vedette.vision import images, probe_child
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve

if TYPE_CHECKING:
    from vedette.vision.interpreter import Interpreter

PROBE_NICE = 10
"""Low, but not the lowest: a probe must end within its time limit on a busy board."""
_NOISE = (48, 64, 3)


def main() -> NoReturn:
    """Handle requests until the parent leaves."""
    link, settings = probe_child.begin()
    _for_each_thread(_lower_priority)
    _bound_processor_time(settings.pop("cpu_s"))
    session = Session(**settings)
    request: dict[str, Any] = {"do": "load"}
    fds: list[int] = []
    while True:
        work = partial(session.handle, request, fds)
        probe_child.send_response(link, probe_child.result_or_refusal(session.path, work))
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
        if not message:
            sys.exit(0)
        request = json.loads(message)


class ProcessorClock:
    """A `ports.Clock` that counts the processor time of this process: it stops while others interrupt the process."""

    def monotonic_ns(self) -> int:
        """Processor time of all threads in nanoseconds."""
        return probe_child.cpu_time_ns()

    def utc_now(self) -> datetime:
        """Wall clock."""
        return datetime.now(UTC)


class Session:
    """One model, run with its bundle's settings on golden frames, and with the device's settings on live frames."""

    def __init__(self, detector: str, roi: list[float], **load_arguments: Any) -> None:
        self.path = str(load_arguments["path"])
        self._load_arguments = load_arguments
        self._config = DetectorConfig.model_validate_json(detector)
        self._roi = Box(*roi)
        self._interpreter: Interpreter | None = None
        self._share = 1.0
        self._detector: LocalDetector | None = None
        self._live: bool | None = None
        self._yields = False
        self._doubts: dict[str, str] = {}
        self._pixels = memoryview(b"")

    def handle(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Return the result of a request. Raises: ModelError, DetectError, SourceInvalid (an invalid golden frame)."""
        match request["do"]:
            case "load":
                return self._load()
            case "golden":
                return self._detect(self._stills[request["number"]], live=False)
            case _:
                self._yield_to_others()
                for fd in fds:
                    self._pixels = _mapped(fd)
                return self._detect(self._frame(request["height"], request["width"]), live=True)

    def _load(self) -> dict[str, Any]:
        arguments = self._load_arguments
        resolve(self._model, self._config)      # the parent will read what this child has read
        golden.read(self._model)
        interpreter, runs = probe_child.load(**arguments)
        proof = probe_child.proof_fields(interpreter, self._model, runs)
        self._doubts = proof["doubts"]
        single = runs
        if interpreter.threads > 1:
            interpreter.close()
            interpreter, single = probe_child.load(**{**arguments, "threads": 1})
        self._interpreter = interpreter
        single_ms = min(run.cpu_ms for run in single)
        self._share = min(1.0, min(run.wall_ms for run in runs) / single_ms) if single is not runs else 1.0
        noise = np.random.default_rng(0).integers(0, 256, _NOISE, np.uint8)
        self._detect(images.frame_of(noise.data), live=True)        # tries the decoder too
        return {"proof": proof, "invoke_ms": single_ms * self._share}

    def _detect(self, frame: Frame, *, live: bool) -> dict[str, Any]:
        if self._detector is None or self._live != live:
            self._detector, self._live = self._open(live), live
        result = self._detector.detect(frame)
        return {"invoke_ms": result.timing.invoke_ms * self._share,
                "detections": [[found.class_id, round(found.score or 0.0, 6), *(round(edge, 6) for edge in found.box)]
                               for found in result.detections]}

    def _open(self, live: bool) -> LocalDetector:
        """Return a detector on the one interpreter; the previous detector must not be used any more."""
        assert self._interpreter is not None  # noqa: S101 - for the type checker: `load` is the first request
        model = self._model
        spec = resolve(model, self._config if live else DetectorConfig(model=model.path), self._doubts)
        return LocalDetector(self._interpreter, model, spec, roi=self._roi if live else WHOLE, clock=ProcessorClock())

    def _frame(self, height: int, width: int) -> Frame:
        now_ns = time.monotonic_ns()
        pixels = self._pixels[:height * width * 3].cast("B", (height, width, 3))
        return Frame(1, pixels, now_ns, datetime.now(UTC), now_ns)

    def _yield_to_others(self) -> None:
        """Run only when the processor is idle, from now on, and without a bound on processor time."""
        if self._yields:
            return
        self._yields = True
        _bound_processor_time(None)
        _for_each_thread(_run_when_idle)

    @cached_property
    def _model(self) -> ModelFile:
        return read_model(Path(self.path), sha256=self._load_arguments["sha256"])

    @cached_property
    def _stills(self) -> tuple[Frame, ...]:
        frames = golden.read(self._model)
        if frames is None:
            raise ModelUnsupported(f"{self.path}: no longer has golden frames; expected the file that was loaded")
        return stills_of(frames)



def _mapped(fd: int) -> memoryview:
    try:
        return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ))
    finally:
        os.close(fd)


def _bound_processor_time(seconds: float | None) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most if seconds is None else math.ceil(seconds), most))


def _for_each_thread(change: Callable[[int], None]) -> None:
    """Change the priority of every existing thread; new threads inherit it from the thread that starts them."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):      # if a filter forbids it, the thread competes like any child's
            change(int(thread.name))


def _lower_priority(thread: int) -> None:
    os.setpriority(os.PRIO_PROCESS, thread, PROBE_NICE)


def _run_when_idle(thread: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    main()
