"""The doctor, on this machine and on machines made of folders, sockets and modules."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.faults.fake_v4l2 import WEBCAM, fake_ioctl, plug
from tests.support.models import bundles
from vedette.cli.checks import child, machine
from vedette.cli.checks import model as model_checks
from vedette.cli.checks.child import ChildFailed
from vedette.cli.checks.result import CheckResult, Machine
from vedette.config.models import Config
from vedette.detect.box_model import BOX_MODEL
from vedette.device.board import Board
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed
from vedette.vision.interpreter import available_runtimes, chosen_runtime

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[3] / "shared/real/models/yolo11n_224_coco_int8.tflite"
DOCTOR = [sys.executable, "-m", "vedette", "doctor"]


def a_machine(root: Path, config: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Machine:
    return Machine(Config.model_validate(config or {}), Board(root, root, vcgencmd=""), environ or {}, root / "dev",
                   fake_ioctl)


def doctor(*arguments: str, **environ: str) -> tuple[int, dict[str, CheckResult]]:
    """Run the command; returns its exit code and the checks by name."""
    ended = subprocess.run([*DOCTOR, "--json", *arguments], env={**os.environ, **environ}, capture_output=True,
                           timeout=120)
    printed = json.loads(ended.stdout)
    found = {entry["name"]: CheckResult(**entry) for entry in printed["checks"]}
    assert printed["ok"] is (ended.returncode == 0)
    return ended.returncode, found


def test_a_sound_machine_passes(broker: Mosquitto, tmp_path: Path) -> None:
    """With a source, a broker and a place for its state, nothing fails and the exit code is 0."""
    code, found = doctor(VEDETTE_MQTT__PORT=str(broker.port), VEDETTE_CAMERA__SOURCE=__file__,
                         STATE_DIRECTORY=str(tmp_path / "state"))
    assert code == 0
    assert {name for name, check in found.items() if check.state == "ok"} >= {
        "config", "python", "opencv", "self-test", "camera", "broker", "state folder", "board"}
    assert not (tmp_path / "state").exists()


def test_lines_have_remedies(tmp_path: Path) -> None:
    """Results are lines with their remedies; a bad configuration hides nothing else, and ends with 69."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {fsp: 3}\n")
    ended = subprocess.run([*DOCTOR, "--config", str(path)], env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
                           capture_output=True, text=True, timeout=120)
    assert ended.returncode == 69
    assert "fail config" in ended.stdout
    assert "did you mean fps?" in ended.stdout
    assert "ok   python" in ended.stdout
    assert "\n                     -> " in ended.stdout


@pytest.mark.parametrize(("module", "state", "expected", "remedy"), [
    ("raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')", "fail", "size changed",
     "--system-site-packages"),
    ("import os; os.abort()", "fail", "crashes: Aborted", "python3-picamera2"),
    ("class Picamera2:\n    global_camera_info = staticmethod(lambda: [])", "fail", "sees no camera", "ribbon"),
    ("class Picamera2:\n    global_camera_info = staticmethod(lambda: [{'Model': 'c270', 'Id': '/base/usb@1'}])",
     "fail", "0: c270 at /base/usb@1 (USB)", "ribbon"),
    ("class Picamera2:\n    global_camera_info = staticmethod(lambda: [{'Model': 'imx708', 'Id': '/base/imx708@1a'}])",
     "ok", "version unknown, cameras: 0: imx708 at /base/imx708@1a", ""),
], ids=["numpy trap", "crash", "no camera", "USB only", "works"])
def test_a_faulty_picamera2_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, state: str,
                                        expected: str, remedy: str) -> None:
    """A picamera2 that is broken, crashes or finds no camera is reported with its cause."""
    (tmp_path / "picamera2.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = machine.picamera2(a_machine(tmp_path, {"camera": {"source": "picamera2"}}))
    assert check.state == state
    assert expected in check.words
    assert remedy in check.remedy


@pytest.mark.parametrize(("version", "state"), [("0.3.19", "fail"), ("0.3.20", "ok"), ("0.4", "ok")])
def test_an_old_picamera2_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str,
                                      state: str) -> None:
    """A version that cannot cancel a call after a time-out is named with the version that is needed."""
    (tmp_path / "picamera2.py").write_text("class Picamera2:\n    global_camera_info = staticmethod(lambda: ["
                                           "{'Model': 'imx708', 'Id': '/base/imx708@1a'}])")
    (tmp_path / f"picamera2-{version}.dist-info").mkdir()
    (tmp_path / f"picamera2-{version}.dist-info" / "METADATA").write_text(f"Name: picamera2\nVersion: {version}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = machine.picamera2(a_machine(tmp_path, {"camera": {"source": "picamera2:imx708"}}))
    assert check.state == state
    assert check.words.startswith(version)
    assert ("expected at least 0.3.20" in check.words) is (state == "fail")


@pytest.mark.parametrize(("expected", "remedy"), [
    ("RuntimeError: numpy.dtype size changed, may indicate", "numpy<2"),
    ("AttributeError: _ARRAY_API not found", "built for numpy 1"),
    ("ImportError: libGL.so.1: cannot open shared object file", "opencv-python-headless"),
    ("crashes: Illegal instruction", "newer processor"),
])
def test_known_faults_are_explained(expected: str, remedy: str) -> None:
    """The message of a failed import leads to its cause and its remedy."""
    assert remedy in child.remedy_for(expected)
    assert child.remedy_for("something else") == ""


def test_a_known_fault_is_found_anywhere_in_the_traceback() -> None:
    """A known fault is reported although the last line of the traceback does not name it."""
    with pytest.raises(ChildFailed, match=r"^_ARRAY_API not found: ImportError: multiarray failed$"):
        child.in_child("import sys; print('_ARRAY_API not found', file=sys.stderr); "
                        "raise ImportError('multiarray failed')")


def test_a_child_that_hangs_is_ended() -> None:
    """The report says that it hangs. It may only be slow, so it was tried again with more time."""
    with pytest.raises(ChildFailed, match="hangs for more than 1 s"):
        child.in_child("import threading; threading.Event().wait()", timeout_s=0.25)


def test_a_child_that_is_only_slow_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """It takes longer than the first bound, on any machine; each failure is told at once."""
    code, bound_s = "import threading; threading.Event().wait(0.3); print('works')", 0.05
    while True:
        try:
            assert child.in_child(code, timeout_s=bound_s) == "works"
            break
        except ChildFailed:
            bound_s *= child.GROWN
    assert "hangs for more than 0.05 s; trying again with 0.1 s" in caplog.text


def test_cameras_are_listed(tmp_path: Path) -> None:
    """Devices are named by their stable names; for a missing one, the available ones are named."""
    assert machine.camera(a_machine(tmp_path)).words == "no V4L2 camera"
    plug(tmp_path / "dev", "video0", WEBCAM, by_id="usb-cam-index0")
    stable = tmp_path / "dev" / "v4l" / "by-id" / "usb-cam-index0"
    found = machine.camera(a_machine(tmp_path))
    assert (found.state, found.words) == ("ok", f"HD Pro Webcam C920 at {stable}")
    missing = machine.camera(a_machine(tmp_path, {"camera": {"source": str(tmp_path / "dev" / "video9")}}))
    assert missing.state == "fail"
    assert "video9 is not there" in missing.words
    assert str(stable) in missing.words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_camera_without_permission(tmp_path: Path) -> None:
    """A device that may not be opened leads to the video group."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "video0").touch(0o000)
    assert "usermod -aG video pi" in machine.camera(a_machine(tmp_path, environ={"USER": "pi"})).remedy


def test_a_stream_is_not_opened(tmp_path: Path) -> None:
    """A stream is left to `vedette snapshot`, and its address is not printed."""
    check = machine.camera(a_machine(tmp_path, {"camera": {"source": "rtsp://10.0.0.9/stream?token=abc"}}))
    assert check.state == "ok"
    assert "abc" not in check.words


def test_a_missing_broker_fails(tmp_path: Path) -> None:
    """A port without a listener is a failure with its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    check = machine.broker(a_machine(tmp_path, {"mqtt": {"port": port}}))
    assert check.state == "fail"
    assert f"127.0.0.1:{port}: " in check.words


@pytest.mark.parametrize(("settings", "state", "said"), [
    ("allow_anonymous true", "ok", "accepts a client without login"),
    ("allow_anonymous false", "fail", "Not authorized"),
    ("allow_anonymous true\nmax_qos 0", "warn", "it takes no QoS 1")])
def test_what_the_broker_answers(tmp_path: Path, settings: str, state: str, said: str) -> None:
    """The check tries to connect, and says what the broker refuses or does without."""
    with running(tmp_path, settings) as broker:
        check = machine.broker(a_machine(tmp_path, {"mqtt": {"port": broker.port}}))
    assert check.state == state, check
    assert said in check.words


@pytest.mark.parametrize("content", [None, b"", b"<html>404"])
def test_model_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or wrong model file is named as it would be at the start."""
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    check = model_checks.model(a_machine(tmp_path, {"detector": {"model": path}}))
    assert check.state == "fail"
    assert str(path) in check.words
    assert "vedette model inspect" in check.remedy


@pytest.mark.skipif(not MODEL.exists(), reason="the real models are not here")
def test_model_that_runs(tmp_path: Path) -> None:
    """A sound model is run in a child, and its time and its share on XNNPACK are printed."""
    check = model_checks.model(a_machine(tmp_path, {"detector": {"model": MODEL, "threads": 1}}))
    assert check.state == "ok"
    assert "% of its nodes on XNNPACK" in check.words


def test_labels_of_events_that_the_model_does_not_have_are_named(tmp_path: Path) -> None:
    """Such an event would never come."""
    zone = {"points": [[0, 0], [1, 0], [1, 1]], "labels": ["dogg"]}
    check = model_checks.model(a_machine(tmp_path, {
        "camera": {"source": "synthetic"}, "events": {"labels": ["person"], "minimum": {"bike": {}}},
        "zones": {"lawn": zone}}))
    assert check.state == "warn"
    assert "the model has no label 'dogg'; did you mean 'dog'?" in check.words
    assert "'bike'" in check.words
    assert "'person'" not in check.words


@pytest.mark.parametrize(("module", "expected"), [
    ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so"),
    ("import os; os.abort()", "crashes: Aborted")], ids=["no library", "crash"])
def test_broken_opencv_does_not_end_the_checks(tmp_path: Path, module: str, expected: str) -> None:
    """Where OpenCV cannot even be imported, the doctor says so and goes on to the end. The model needs none."""
    (tmp_path / "cv2.py").write_text(module)
    code, found = doctor(PYTHONPATH=str(tmp_path), STATE_DIRECTORY=str(tmp_path), VEDETTE_DETECTOR__MODEL=__file__)
    assert code == 69
    assert expected in found["opencv"].words
    assert "not a TFLite model" in found["model"].words
    assert expected in found["self-test"].words
    assert "board" in found


def test_no_model_is_a_warning(tmp_path: Path) -> None:
    """A machine without a model is sound, but will not detect."""
    assert model_checks.model(a_machine(tmp_path)).state == "warn"


def test_the_street_uses_the_model_in_the_box(tmp_path: Path) -> None:
    """With the drawn street as the source, the model in the box is checked."""
    check = model_checks.model(a_machine(tmp_path, {"camera": {"source": "synthetic"}, "detector": {"threads": 1}}))
    assert check.state == "ok"
    assert str(BOX_MODEL) in check.words


def test_an_installed_model_is_checked(tmp_path: Path) -> None:
    """If the configuration names none, the store's active model is checked."""
    store = ModelStore(tmp_path / "models")
    store.recover()
    sha256, size = store.stage(BOX_MODEL, None, limit_bytes=1 << 24)
    store.change(store.state.activated(Installed(sha256=sha256, size=size, name="street"), datetime.now(UTC)))
    check = model_checks.model(a_machine(tmp_path, {"detector": {"threads": 1}}, {"STATE_DIRECTORY": str(tmp_path)}))
    assert check.state == "ok"
    assert sha256 in check.words


@pytest.mark.parametrize("runtime", [one.name for one in available_runtimes() if one.error is None])
def test_self_test_of_a_sound_runtime(tmp_path: Path, runtime: str) -> None:
    """The model in the box yields its golden detections on the configured runtime, which the text names."""
    check = model_checks.self_test(a_machine(tmp_path, {"detector": {"runtime": runtime}}))
    assert (check.state, check.remedy) == ("ok", "")
    assert check.words.startswith(f"{runtime} ")
    assert "2 agree" in check.words


def broken_box(folder: Path, kind: str) -> Path:
    path = folder / "box.tflite"
    if kind == "missing":
        return path
    path.write_bytes(BOX_MODEL.read_bytes())
    if kind == "damaged":
        content = bytearray(path.read_bytes())
        content[100_000] ^= 1
        path.write_bytes(content)
        return path
    return bundles.altered(path, color="bgr") if kind == "bgr" else bundles.altered(
        path, files={"labels.txt": b"cone\nparcel\ndog\ncar\nbicycle\nperson\n"})


@pytest.mark.parametrize(("kind", "expected", "remedy"), [
    ("missing", "No such file", "Install vedette again"), ("damaged", "states SHA-256", "Install vedette again"),
    ("bgr", "golden frames: color: ", "wrong results"), ("labels", "golden frames: labels: ", "wrong results")])
def test_the_self_test_names_the_fault(tmp_path: Path, kind: str, expected: str, remedy: str) -> None:
    """A file that was changed after shipping is distinguished from a runtime with wrong results."""
    check = model_checks.try_box(str(broken_box(tmp_path, kind)), "auto")
    assert check.state == "fail"
    assert expected in check.words
    assert remedy in check.remedy


@pytest.mark.skipif(chosen_runtime("auto")[0] != "litert", reason="only LiteRT brings an XNNPACK of its own")
def test_the_self_test_without_xnnpack(tmp_path: Path) -> None:
    """Where XNNPACK takes no part of the model, the results are right and slow. That is no reason to install again."""
    check = model_checks.try_box(str(bundles.pack(tmp_path)), "auto")
    assert check.state == "warn", check.words
    assert "XNNPACK takes no part of the model" in check.words
    assert "/sys/devices/system/cpu" in check.remedy


def test_the_self_test_without_the_configured_runtime(tmp_path: Path) -> None:
    """A missing runtime is named, and the rest is left to the check of the runtimes."""
    away = next(name for name in ("litert", "tflite-runtime")
                if name not in [one.name for one in available_runtimes() if one.error is None])
    check = model_checks.self_test(a_machine(tmp_path, {"detector": {"runtime": away}}))
    assert (check.state, check.remedy) == ("fail", "See the check `runtime`.")
    assert away in check.words


def test_too_many_threads_give_a_warning(tmp_path: Path) -> None:
    """The limit is the number of cores that the process may use."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(ours)])
    try:
        said = [machine.threads(a_machine(tmp_path, {"detector": {"threads": threads}})).state for threads in (1, 2)]
    finally:
        os.sched_setaffinity(0, ours)
    assert said == ["ok", "warn"]


def test_a_file_in_place_of_the_state_folder_fails(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").touch()
    check = machine.state(a_machine(tmp_path, environ={"STATE_DIRECTORY": str(tmp_path / "file" / "vedette")}))
    assert check.state == "fail"
    assert str(tmp_path / "file") in check.words


def test_board_reasons_come_with_remedies(tmp_path: Path) -> None:
    """Each health reason of the board is a warning with the remedy of the table."""
    thermal = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    thermal.mkdir(parents=True)
    (thermal / "temp").write_text("85000\n")
    found = {check.name: check for check in machine.board(a_machine(tmp_path))}
    assert found["hot"].state == "warn"
    assert "fan" in found["hot"].remedy
    assert "85 degrees" in found["board"].words


@pytest.mark.parametrize(("events", "state", "words"), [
    ({}, "ok", "Recording is off; nothing is kept"),
    ({"enabled": False, "pictures": "on", "clips": {"folder": "/srv"}}, "ok", "Recording is off; nothing is kept"),
    ({"pictures": "on"}, "ok", "no clips are kept; best pictures of all labels are published"),
    ({"pictures": ["person", "car"]}, "ok", "no clips are kept; best pictures of person, car are published"),
    ({"clips": {"folder": "PLACE"}}, "ok", "clips are kept in PLACE"),
    ({"clips": {"folder": "PLACE/absent"}}, "warn", "clips: PLACE/absent is absent"),
    ({"clips": {"folder": "PLACE/closed/clips"}}, "warn", "clips: PLACE/closed/clips cannot be written to"),
    ({"clips": {"folder": "PLACE/closed"}, "pictures": "on"}, "warn",
     "clips: PLACE/closed cannot be written to; best pictures of all labels are published")])
def test_whether_anything_is_kept_is_said(tmp_path: Path, events: dict[str, Any], state: str, words: str) -> None:
    """Whoever asks reads that nothing is kept, or what is kept and where."""
    (tmp_path / "closed").mkdir()
    give_away(tmp_path)
    (tmp_path / "closed").chmod(0o400)
    settings = json.loads(json.dumps({"events": events}).replace("PLACE", str(tmp_path)))
    check = as_nobody(lambda: machine.recording(a_machine(tmp_path, settings)))
    assert (check.state, check.words) == (state, words.replace("PLACE", str(tmp_path)))
    assert bool(check.remedy) is (state == "warn")
