"""Opening a camera from its configuration, and the memory and imports that this costs."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import vedette
from tests.support.daemon.cameras import ClipMaker, make_settings, real_video, running
from tests.support.waiting.until import eventually
from vedette._lib.child import Child
from vedette.camera.open import capture_child, capture_settings, open_camera
from vedette.camera.settings import CHILD_MODULE, ENVIRON
from vedette.config.models import CameraConfig


def test_opening_imports_nothing_heavy() -> None:
    """The module that starts the child imports neither numpy, OpenCV nor pydantic, so that the child starts first."""
    code = ("import sys, vedette.camera.open; "
            "print([m for m in ('numpy', 'cv2', 'pydantic', 'yaml') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_command_run_imports_nothing_heavy() -> None:
    """Until `vedette run` has started the capture child, it imports neither numpy, OpenCV, pydantic nor paho."""
    code = ("import sys, vedette.cli.run, vedette.camera.open; "
            "print([m for m in ('numpy', 'cv2', 'pydantic', 'yaml', 'paho', 'ssl') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_child_that_was_started_early_is_used() -> None:
    """A camera gets its frames from the child that was started before its settings were known."""
    with capture_child() as child, \
            contextlib.closing(open_camera(CameraConfig(source="synthetic"), child=child)) as camera:
        camera.start()
        camera.release(eventually(lambda: camera.take(0.1)))
        assert camera.child_pid == child.pid
    assert child.ending()


def test_a_child_that_gets_no_settings_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """A capture child whose daemon ends before it has a configuration ends too, and writes nothing."""
    child = Child(CHILD_MODULE, ENVIRON)
    child.close()
    eventually(child.ending)
    assert child.ending() == "ended with exit code 0"
    assert capfd.readouterr().err == ""


def test_the_child_imports_nothing_of_the_daemon() -> None:
    """The capture child imports no pydantic, YAML, paho and no interpreter, and nothing of the network but sockets."""
    code = ("import sys, vedette.camera.child.main, vedette.camera.child.folder, vedette.camera.child.opencv; "
            "print([m for m in ('pydantic', 'yaml', 'paho', 'ai_edge_litert', 'tflite_runtime', 'ssl', 'http.client', "
            "'urllib.request', 'statistics') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_only_the_child_imports_the_childs_modules() -> None:
    """No module outside camera/child/ imports one of it: between the two processes there is only the socket."""
    child = Path(vedette.__file__).parent / "camera" / "child"
    outside = (path for path in Path(vedette.__file__).parent.rglob("*.py") if child not in path.parents)
    assert [str(path) for path in outside
            if re.search(r"^\s*(from|import) vedette\.camera\.child", path.read_text(), re.MULTILINE)] == []


def test_every_frame_and_loop_are_for_files_only(tmp_path: Path) -> None:
    """A camera or a stream cannot wait. A path can."""
    for source, kept in (("rtsp://cam/1", False), ("auto", False), (str(tmp_path), True)):
        settings = capture_settings(CameraConfig(source=source, every_frame=True, loop=True))
        assert (settings.every_frame, settings.loop) == (kept, kept)


def test_open_camera_gives_frames_of_the_configured_size(clip: ClipMaker) -> None:
    """A film larger than the configured size is scaled down to fit, aspect kept."""
    camera = open_camera(CameraConfig(source=str(clip(size=(128, 64))), width=64, height=64, loop=True))
    camera.start()
    frame = eventually(lambda: camera.take(0.5))
    assert (frame.width, frame.height) == (64, 32)
    camera.close()


@pytest.mark.slow
def test_the_child_stays_small_while_it_decodes() -> None:
    """Decoding 768 x 432 H.264 takes no more than it did; OpenCV 4 with numpy 1 alone is 7 MB larger than OpenCV 5.

    Measured with OpenCV 5: 64 MB on one machine of two cores, 67 on another.
    """
    limit_mb = 75 if cv2.__version__ >= "5" else 82
    with running(make_settings(real_video(), width=768, height=432, loop=True)) as camera:
        eventually(lambda: camera.status().captured > 30)
        status = Path(f"/proc/{camera.child_pid}/status").read_text()
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kb / 1024 <= limit_mb
