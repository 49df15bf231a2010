"""What `vedette doctor` examines: one function a check, each with its finding in words and what to do.

Invariants: nothing is changed; native libraries and models are tried in a child process, since they may crash;
every wait has a limit, but for name resolution, which the system's resolver bounds.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vedette.camera.pick import DEVICE_PATTERNS
from vedette.camera.street.options import is_synthetic
from vedette.errors import ModelError, VedetteError
from vedette.identity import state_path
from vedette.reasons import REASONS

if TYPE_CHECKING:
    from vedette.board import Board
    from vedette.config.models import Config

CHILD_TIMEOUT_S = 30.0
MODEL_TIMEOUT_S = 90.0
"""Two tries of its own child, where the delegate made by hand is one."""
BROKER_TIMEOUT_S = 2.0
PYTHON = ((3, 11), (3, 13))

TRAPS = {
    "numpy.dtype size changed":
        "built for another numpy than the one found: a numpy 2 from pip (also by way of OpenCV >= 4.12) hides apt's. "
        "Use an environment with --system-site-packages, numpy<2 and opencv-python-headless<4.12 (`make install` does)",
    "_ARRAY_API not found":
        "built for numpy 1 and found numpy 2: install numpy<2 with opencv-python-headless<4.12; or ai-edge-litert "
        "instead of tflite-runtime",
    "libGL.so": "opencv-python needs a desktop's libraries: install opencv-python-headless instead of it",
    "Illegal instruction": "built for a newer processor than this one",
}
"""What a failed import says -> what is behind it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` says what to do, and is empty where nothing is."""

    name: str
    state: Literal["ok", "warn", "fail"]
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined."""

    config: Config
    board: Board
    environ: Mapping[str, str]
    dev: Path = Path("/dev")


class ChildFailed(VedetteError):
    """A child process could not do what it was asked; the message has its last words."""


def python(_: Subject) -> Check:
    """Whether this Python is one that the package is tested with."""
    words = f"{platform.python_version()} on {platform.machine()}"
    if PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        return Check("python", "ok", words)
    return Check("python", "fail", words, "install Python 3.11, 3.12 or 3.13")


def runtimes(subject: Subject) -> Check:
    """Whether the interpreter that the configuration asks for can really be constructed."""
    try:
        reports = json.loads(in_child(
            "import json; from vedette.vision.interpreter import available_runtimes as all_; "
            "print(json.dumps([[one.name, one.version, one.error] for one in all_()]))"))
    except ChildFailed as failure:
        return Check("runtime", "fail", str(failure), remedy_for(str(failure)) or "reinstall ai-edge-litert")
    words = "; ".join(f"{name}: {error or f'{version} works'}" for name, version, error in reports)
    wanted = subject.config.detector.runtime
    works = [name for name, _, error in reports if not error and wanted in ("auto", name)]
    if not works:
        return Check("runtime", "fail", words, remedy_for(words) or "install ai-edge-litert (64-bit) or tflite-runtime")
    if works == ["tflite-runtime"] and platform.machine() in ("x86_64", "aarch64"):
        return Check("runtime", "warn", words, "install ai-edge-litert: it is several times faster on INT8 models")
    return Check("runtime", "ok", words)


def opencv(_: Subject) -> Check:
    """Whether OpenCV and numpy can be imported together."""
    try:
        words = in_child("import cv2, numpy; print(cv2.__version__, 'with numpy', numpy.__version__)")
    except ChildFailed as failure:
        return Check("opencv", "fail", str(failure), remedy_for(str(failure)) or "reinstall opencv-python-headless")
    return Check("opencv", "ok", words)


def picamera2(subject: Subject) -> Check:
    """Whether the Raspberry Pi's own cameras can be used; a failure only where they are asked for by name."""
    source, on_pi = subject.config.camera.source, (subject.board.name or "").startswith("Raspberry Pi")
    try:
        names = in_child("from picamera2 import Picamera2; "
                         "print(', '.join(one['Model'] for one in Picamera2.global_camera_info()))")
    except ChildFailed as failure:
        state: Literal["ok", "warn", "fail"] = "fail" if source == "picamera2" else "warn" if on_pi else "ok"
        remedy = remedy_for(str(failure)) or "apt install python3-picamera2; environment with --system-site-packages"
        return Check("picamera2", state, str(failure), "" if state == "ok" else remedy)
    if not names and source == "picamera2":
        return Check("picamera2", "fail", "sees no camera", "check the ribbon cable; `rpicam-hello --list-cameras`")
    return Check("picamera2", "ok", names or "works; sees no camera")


def camera(subject: Subject) -> Check:
    """Whether the configured source is there and may be opened."""
    source = subject.config.camera.source
    if "://" in source and not source.startswith("file://"):
        return Check("camera", "ok", f"{source.split('://')[0]} stream, not tried here", "try it: vedette snapshot")
    if source == "picamera2":
        return Check("camera", "ok", "see picamera2")
    if is_synthetic(source):
        return Check("camera", "ok", "the drawn street, no camera")
    devices = next(filter(None, (sorted(subject.dev.glob(pattern)) for pattern in DEVICE_PATTERNS)), [])
    found = ", ".join(map(str, devices)) or "no V4L2 device"
    wanted = devices if source == "auto" else [Path(source.removeprefix("file://"))]
    missing = [str(path) for path in wanted if not path.exists()]
    if missing:
        return Check("camera", "fail", f"{missing[0]} is not there (found: {found})", "correct camera.source")
    closed = [str(path) for path in wanted if not os.access(path, os.R_OK)]
    if closed:
        return Check("camera", "fail", f"no permission for {closed[0]}",
                     f"add the user to the group video: usermod -aG video {subject.environ.get('USER', 'USER')}")
    if not wanted:
        return Check("camera", "warn", found, "connect a camera, or set camera.source")
    return Check("camera", "ok", ", ".join(map(str, wanted)))


def model(subject: Subject) -> Check:
    """Whether the model can be read, decoded and run; in a child, since OpenCV and the runtime may be broken."""
    detector = subject.config.detector
    if detector.model is None:
        return Check("model", "warn", REASONS["no_model"].meaning, REASONS["no_model"].remedy)
    keys = detector.model_dump_json(exclude_unset=True)
    try:
        return Check(**json.loads(in_child("import dataclasses, json; from vedette.cli.checks import try_model; "
                                           f"print(json.dumps(dataclasses.asdict(try_model({keys!r}))))",
                                           MODEL_TIMEOUT_S)))
    except ChildFailed as failure:
        return Check("model", "fail", f"{detector.model}: cannot be tried: {failure}",
                     remedy_for(str(failure)) or "see opencv and runtime")


def try_model(keys: str) -> Check:
    """Read, decode and run the model that these keys of `detector` (JSON) name."""
    from vedette.config.models import DetectorConfig
    from vedette.vision.model_spec import resolve
    from vedette.vision.probe import prove
    from vedette.vision.tflite_file import read_model
    detector = DetectorConfig.model_validate_json(keys)
    assert detector.model is not None  # noqa: S101 - for the type checker: model() saw it
    try:
        spec = resolve(read_model(detector.model), detector)
        proof = prove(detector.model, runtime=detector.runtime, threads=detector.threads)
    except ModelError as refusal:
        return Check("model", "fail", str(refusal), f"vedette model inspect {detector.model}")
    except VedetteError as refusal:
        return Check("model", "fail", str(refusal), "see runtime")
    words = (f"{detector.model}: decoder {spec.decoder}, {proof.invoke_ms:.1f} ms on {proof.runtime}, "
             f"{proof.xnnpack_share:.0%} of its nodes on XNNPACK")
    if spec.warnings:
        return Check("model", "warn", f"{words}; {'; '.join(spec.warnings)}", f"vedette model inspect {detector.model}")
    return Check("model", "ok", words)


def threads(subject: Subject) -> Check:
    """Whether the interpreter has no more threads than the board has cores."""
    wanted, cores = subject.config.detector.threads, len(os.sched_getaffinity(0))
    words = f"{wanted} of the interpreter, {cores} cores"
    if wanted > cores:
        return Check("threads", "warn", words, f"set detector.threads to {cores}: more make it several times slower")
    return Check("threads", "ok", words)


def broker(subject: Subject) -> Check:
    """Whether something listens where the broker should be."""
    host, port = subject.config.mqtt.host, subject.config.mqtt.port
    try:
        socket.create_connection((host, port), timeout=BROKER_TIMEOUT_S).close()
    except OSError as error:
        return Check("broker", "fail", f"{host}:{port}: {error.strerror or error}", REASONS["mqtt_offline"].remedy)
    return Check("broker", "ok", f"{host}:{port} accepts connections (login not tried)")


def state(subject: Subject) -> Check:
    """Whether the state folder is there, or can be made, and may be written to."""
    path = state_path(subject.environ).absolute()
    nearest = nearest_existing(path)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return Check("state folder", "ok", f"{path}{'' if nearest == path else ' (will be made)'}")
    return Check("state folder", "fail", f"{path}: {nearest} cannot be written to",
                 "run as the daemon's user, or set STATE_DIRECTORY")


def board(subject: Subject) -> Iterator[Check]:
    """What the board complains of now, and what it is."""
    reading = subject.board.read()
    for code, detail in reading.reasons().items():
        yield Check(code, "warn", detail, REASONS[code].remedy)
    seen = [subject.board.name or "unknown board"]
    if reading.temperature_c is not None:
        seen.append(f"{reading.temperature_c:.0f} degrees Celsius")
    if reading.throttled_ever:
        seen.append("since boot: " + ", ".join(reading.throttled_ever))
    if reading.disk_free_mb is not None:
        seen.append(f"{reading.disk_free_mb:.0f} MB of disk free")
    yield Check("board", "ok", ", ".join(seen))


CHECKS: tuple[Callable[[Subject], Check | Iterator[Check]], ...] = (
    python, opencv, runtimes, model, threads, picamera2, camera, broker, state, board)


def examine(subject: Subject) -> Iterator[Check]:
    """Yield every check as it is done."""
    for check in CHECKS:
        found = check(subject)
        yield from (found,) if isinstance(found, Check) else found


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def remedy_for(words: str) -> str:
    """Return what is behind a failed import, or nothing."""
    return next((meaning for sign, meaning in TRAPS.items() if sign in words), "")


def in_child(code: str, timeout_s: float = CHILD_TIMEOUT_S) -> str:
    """Run a line of Python in a fresh process; returns what it printed. Raises: ChildFailed."""
    try:
        ended = subprocess.run([sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, capture_output=True,
                               check=False, text=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"hangs for more than {timeout_s:.0f} s") from error
    if ended.returncode < 0:
        raise ChildFailed(f"crashes: {signal.strsignal(-ended.returncode)}")
    if ended.returncode:
        signs = [sign for sign in TRAPS if sign in ended.stderr]
        raise ChildFailed(": ".join([*signs, *ended.stderr.strip().splitlines()[-1:]]))
    return ended.stdout.strip()

