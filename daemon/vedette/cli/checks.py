"""What `vedette doctor` examines: one function a check, each with its finding in words and what to do.

Invariants: nothing is changed; native libraries and models are tried in a child process, since they may crash;
every wait has a limit, but for name resolution, which the system's resolver bounds.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from vedette.camera.settings import DEVICE_PATTERNS
from vedette.camera.street.options import is_synthetic
from vedette.cli.check_result import Check, ChildFailed, Subject, in_child, remedy_for
from vedette.cli.model_checks import model, self_test
from vedette.device.identity import state_path
from vedette.health.reasons import REASONS

BROKER_TIMEOUT_S = 2.0
PYTHON = ((3, 11), (3, 13))


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
    python, opencv, runtimes, self_test, model, threads, picamera2, camera, broker, state, board)


def examine(subject: Subject) -> Iterator[Check]:
    """Yield every check as it is done."""
    for check in CHECKS:
        found = check(subject)
        yield from (found,) if isinstance(found, Check) else found


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())
