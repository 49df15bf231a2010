"""`vedette camera list` with a fake picamera2 and a fake V4L2 driver, and on this machine without any camera."""

import json
from pathlib import Path

import cv2
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.support.daemon.running import vedette
from tests.support.faults.fake_v4l2 import WEBCAM, fake_ioctl, plug
from tests.support.present import present
from vedette.camera import v4l2
from vedette.cli.camera.list import list_cameras
from vedette.config.models import Config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FAKE = ROOT / "tests/camera/child/fake_picamera2"
CSI = "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"
USB = "/base/axi/pcie@1000120000/rp1/usb@200000-1:1.0-046d:0825"


def fake_environ(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(FAKE), "FAKE_PICAMERA2": str(folder)}


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board with one camera and a USB camera, for every child."""
    (tmp_path / "board.json").write_text(json.dumps({"cameras": [USB, CSI]}))
    for name, value in fake_environ(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_both_kinds_are_listed_once(pi: Path) -> None:
    """The camera of the board is picamera2's, the USB camera V4L2's. The output fits its schema."""
    plug(pi / "dev", "video0", WEBCAM, by_id="usb-C920-index0")
    found = list_cameras(pi / "dev", fake_ioctl)
    usb = str(pi / "dev/v4l/by-id/usb-C920-index0")
    assert [(camera.driver, camera.name, camera.source) for camera in found.cameras] == [
        ("picamera2", "imx708", "picamera2:imx708"), ("v4l2", "HD Pro Webcam C920", usb)]
    assert [(mode.width, mode.height, mode.fps, mode.crop) for mode in found.cameras[0].modes][:2] == [
        (1536, 864, [120.13], [768, 432, 3072, 1728]), (2304, 1296, [56.03], [0, 0, 4608, 2592])]
    schema = json.loads((ROOT / "docs/schemas/cameras-1.json").read_text())
    Draft202012Validator(schema).validate(json.loads(found.model_dump_json(by_alias=True)))
    for camera in found.cameras:
        assert Config.model_validate(yaml.safe_load(camera.config)).camera.source == camera.source


def test_the_command_lists_and_takes_snapshots(pi: Path) -> None:
    """Each camera has its line for the configuration, and a file with a frame."""
    done = vedette("camera", "list", "--snapshots", pi / "pictures", "--wait", "60", folder=pi, env=fake_environ(pi))
    assert done.returncode == 0
    assert f'imx708  at {CSI}\n  camera: {{source: "picamera2:imx708"}}\n' in done.stdout
    assert "1536 x 864 at 120.13 fps (a part), 2304 x 1296 at 56.03 fps" in done.stdout
    assert present(cv2.imread(str(pi / "pictures" / "picamera2-imx708.jpg"))).shape == (720, 1280, 3)


@pytest.mark.skipif(bool(v4l2.cameras()), reason="this machine has a camera")
def test_without_any_camera(tmp_path: Path) -> None:
    """Exit code 69, and what to do; the JSON object is printed all the same, with the reason of picamera2."""
    (tmp_path / "picamera2.py").write_text("raise ImportError('libcamera.so.0.5 is missing')")
    done = vedette("camera", "list", "--json", folder=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 69
    assert "rpicam-hello --list-cameras" in done.stderr
    assert "rtsp://" in done.stderr
    printed = json.loads(done.stdout)
    assert (printed["schema"], printed["cameras"]) == ("vedette.cameras/1", [])
    assert "libcamera.so.0.5 is missing" in printed["picamera2"]
