"""The checks of `vedette doctor`: one function for each, and the list of all in their order.

Invariants: nothing is changed; native libraries and models are tried in a child process, because they may crash;
every wait has a limit, except name resolution, which the system's resolver bounds.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from vedette.camera.pi_choice import choose, described
from vedette.camera.settings import kind_of
from vedette.camera.v4l2 import cameras
from vedette.cli.broker import connected
from vedette.cli.camera.list import picamera2_report
from vedette.cli.checks.child import ChildFailed, in_child, remedy_for
from vedette.cli.checks.model import model, self_test
from vedette.cli.checks.result import CheckResult, CheckState, Machine
from vedette.device.identity import state_path
from vedette.errors import BrokerError, BrokerRefused, SourceMissing
from vedette.health.reasons import REASONS
from vedette.net.urls import shown
from vedette.types import ReasonCode

PYTHON = ((3, 11), (3, 13))
PICAMERA2_NEEDED = "0.3.20"
"""The first version whose calls can be cancelled after a time-out (`cancel_all_and_flush`)."""
NO_V4L2 = "no V4L2 camera"


def python(_: Machine) -> CheckResult:
    """Whether the package is tested with this version of Python."""
    text = f"{platform.python_version()} on {platform.machine()}"
    if PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        return CheckResult("python", "ok", text)
    return CheckResult("python", "fail", text, "Install Python 3.11, 3.12 or 3.13.")


def runtimes(machine: Machine) -> CheckResult:
    """Whether the interpreter that the configuration names can be constructed."""
    try:
        reports = json.loads(in_child(
            "import json; from vedette.vision.interpreter import available_runtimes as all_; "
            "print(json.dumps([[one.name, one.version, one.error] for one in all_()]))"))
    except ChildFailed as failure:
        return CheckResult("runtime", "fail", str(failure), remedy_for(str(failure)) or "Install ai-edge-litert again.")
    text = "; ".join(f"{name}: {error or f'{version} works'}" for name, version, error in reports)
    wanted = machine.config.detector.runtime
    works = [name for name, _, error in reports if not error and wanted in ("auto", name)]
    if not works:
        return CheckResult("runtime", "fail", text,
                           remedy_for(text) or "Install ai-edge-litert (64-bit) or tflite-runtime.")
    if works == ["tflite-runtime"] and platform.machine() in ("x86_64", "aarch64"):
        return CheckResult("runtime", "warn", text,
                           "Install ai-edge-litert. It runs INT8 models several times faster.")
    return CheckResult("runtime", "ok", text)


def opencv(_: Machine) -> CheckResult:
    """Whether OpenCV and numpy can be imported together."""
    try:
        text = in_child("import cv2, numpy; print(cv2.__version__, 'with numpy', numpy.__version__)")
    except ChildFailed as failure:
        return CheckResult("opencv", "fail", str(failure),
                           remedy_for(str(failure)) or "Install opencv-python-headless again.")
    return CheckResult("opencv", "ok", text)


def picamera2(machine: Machine) -> CheckResult:
    """Whether the cameras of the Raspberry Pi can be used. It fails only if the configuration names them."""
    source = machine.config.camera.source
    wanted = kind_of(source) == "picamera2"
    try:
        found = picamera2_report(modes=False)
    except ChildFailed as failure:
        remedy = (remedy_for(str(failure))
                  or "Run `apt install python3-picamera2`. Use an environment with --system-site-packages.")
        state = _state_without_picamera2(machine, wanted=wanted)
        return CheckResult("picamera2", state, str(failure), "" if state == "ok" else remedy)
    version = found["version"] or "version unknown"
    if _is_old(version):
        return CheckResult("picamera2", "fail" if wanted else "warn",
                           f"{version}, expected at least {PICAMERA2_NEEDED}",
                           "Run `apt update`, then `apt install python3-picamera2`.")
    infos = [{"Model": camera["name"], "Id": camera["place"]} for camera in found["cameras"]]
    if wanted:
        try:
            choose(infos, source)
        except SourceMissing as missing:
            return CheckResult("picamera2", "fail", f"{version}: {missing}",
                               "Check the ribbon cable and camera.source. Run `rpicam-hello --list-cameras`.")
    return CheckResult("picamera2", "ok", f"{version}, cameras: {described(infos)}")


def _is_old(version: str) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]
    return bool(numbers(version)) and numbers(version) < numbers(PICAMERA2_NEEDED)


def _state_without_picamera2(machine: Machine, *, wanted: bool) -> CheckState:
    if wanted:
        return "fail"
    return "warn" if (machine.board.name or "").startswith("Raspberry Pi") else "ok"


def camera(machine: Machine) -> CheckResult:
    """Whether the configured source is there and may be opened."""
    source = machine.config.camera.source
    kind = kind_of(source)
    if kind == "stream":
        return CheckResult("camera", "ok", f"{source.split('://')[0]} stream, not tried by this command",
                           "To try it, run `vedette snapshot`. If the camera has a substream, use it: it costs less.")
    if kind == "picamera2":
        return CheckResult("camera", "ok", "see the check `picamera2`")
    if kind == "synthetic":
        return CheckResult("camera", "ok", "the drawn street, no camera")
    if kind == "auto":
        return _any_v4l2(machine)
    path = Path(source.removeprefix("file://"))
    if not _is_there(path):
        available = ", ".join(found.path for found in cameras(machine.dev, machine.ioctl)) or NO_V4L2
        return CheckResult("camera", "fail", f"{shown(source)} is not there (available: {available})",
                           "Correct camera.source. `vedette camera list` shows the cameras.")
    if not os.access(path, os.R_OK):
        return CheckResult("camera", "fail", f"no permission for {shown(source)}", _video_group(machine))
    return CheckResult("camera", "ok", shown(source))


def _any_v4l2(machine: Machine) -> CheckResult:
    found = cameras(machine.dev, machine.ioctl)
    usable = [f"{camera.name} at {camera.path}" for camera in found if not camera.problem]
    if usable:
        return CheckResult("camera", "ok", ", ".join(usable))
    if found:
        return CheckResult("camera", "fail", f"{found[0].path}: {found[0].problem}", _video_group(machine))
    return CheckResult("camera", "warn", NO_V4L2, "Connect a camera, or set camera.source.")


def _video_group(machine: Machine) -> str:
    return f"Add the user to the group video: usermod -aG video {machine.environ.get('USER', 'USER')}"


def threads(machine: Machine) -> CheckResult:
    """Whether the interpreter has no more threads than the board has cores."""
    wanted, cores = machine.config.detector.threads, len(os.sched_getaffinity(0))
    text = f"{wanted} for the interpreter, {cores} cores"
    if wanted > cores:
        return CheckResult("threads", "warn", text,
                           f"Set detector.threads to {cores}. More threads than cores are several times slower.")
    return CheckResult("threads", "ok", text)


def broker(machine: Machine) -> CheckResult:
    """Whether the broker accepts a connection with the configured login, and what it does without."""
    mqtt = machine.config.mqtt
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        with connected(mqtt, ()) as connection:
            losses = connection.terms.losses(wanted_v5=mqtt.protocol == 5)
    except BrokerError as error:
        code: ReasonCode = "mqtt_refused" if isinstance(error, BrokerRefused) else "mqtt_offline"
        return CheckResult("broker", "fail", str(error), REASONS[code].remedy)
    if losses:
        return CheckResult("broker", "warn", f"{where}: {losses}", REASONS["mqtt_limited"].remedy)
    return CheckResult("broker", "ok", f"{where} accepts {'the login' if mqtt.username else 'a client without login'}")


def state(machine: Machine) -> CheckResult:
    """Whether the state folder is there, or can be created, and may be written to."""
    path = state_path(machine.environ).absolute()
    nearest = nearest_existing(path)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return CheckResult("state folder", "ok", f"{path}{'' if nearest == path else ' (will be created)'}")
    return CheckResult("state folder", "fail", f"{path}: {nearest} cannot be written to",
                       "Run this command as the daemon's user, or set STATE_DIRECTORY.")


def recording(machine: Machine) -> CheckResult:
    """Whether pictures leave the device or stay on it, and whether the folder of the clips may be written to."""
    events = machine.config.events
    folder = events.clips.folder if events.enabled else None
    labels = ", ".join(events.pictures) if isinstance(events.pictures, tuple) else "all labels"
    published = f"; best pictures of {labels} are published" if events.enabled and events.pictures else ""
    if folder is None:
        return CheckResult("recording", "ok", f"no clips are kept{published}" if published else
                           "Recording is off; nothing is kept")
    if os.access(folder, os.W_OK | os.X_OK):
        return CheckResult("recording", "ok", f"clips are kept in {folder}{published}")
    is_absent = os.access(folder.parent, os.X_OK) and not _is_there(folder)
    problem = "is absent" if is_absent else "cannot be written to"
    return CheckResult("recording", "warn", f"clips: {folder} {problem}{published}", REASONS["clips_failed"].remedy)


def board(machine: Machine) -> Iterator[CheckResult]:
    """The problems that the board reports now, and what board it is."""
    reading = machine.board.read()
    for code, detail in reading.reasons().items():
        yield CheckResult(code, "warn", detail, REASONS[code].remedy)
    facts = [machine.board.name or "unknown board"]
    if reading.temperature_c is not None:
        facts.append(f"{reading.temperature_c:.0f} degrees Celsius")
    if reading.throttled_ever:
        facts.append("since boot: " + ", ".join(reading.throttled_ever))
    if reading.disk_free_mb is not None:
        facts.append(f"{reading.disk_free_mb:.0f} MB of disk free")
    yield CheckResult("board", "ok", ", ".join(facts))


CHECKS: tuple[Callable[[Machine], CheckResult | Iterator[CheckResult]], ...] = (
    python, opencv, runtimes, self_test, model, threads, picamera2, camera, broker, state, recording, board)


def run_checks(machine: Machine) -> Iterator[CheckResult]:
    """Run the checks one by one and yield each result."""
    for check in CHECKS:
        result = check(machine)
        yield from (result,) if isinstance(result, CheckResult) else result


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if _is_there(place))


def _is_there(path: Path) -> bool:
    """Return whether the path exists, as far as this user can know: a folder above it may be closed."""
    try:
        return path.exists()
    except PermissionError:
        return False
