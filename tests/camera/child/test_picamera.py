"""The Pi camera adapter with a strict picamera2: its rules in this process, its faults in a real capture child."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.daemon.as_nobody import in_fork
from tests.support.daemon.cameras import Consumer, make_settings, running, same_child
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually
from vedette.camera.child.picamera import PiCamera, report
from vedette.camera.child.source import ReadStalled
from vedette.camera.pi_choice import choose, source_of
from vedette.errors import SourceError, SourceInvalid, SourceMissing

pytestmark = pytest.mark.slow

FAKE = Path(__file__).parent / "fake_picamera2"
USB = "/base/axi/pcie@1000120000/rp1/usb@200000-1:1.0-046d:0825"
CSI = "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"
CSI_2 = "/base/axi/pcie@1000120000/rp1/i2c@80000/imx219@10"
SHOWN = (41, 120, 200)
"""What the first frame of the first camera shows, as BGR."""

Board = Callable[..., None]


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """Put the fake where a child and this process find it. Returns the function that changes its board."""
    changed: dict[str, Any] = {}

    def change(**board: Any) -> None:
        changed.update(board)
        (tmp_path / "next.json").write_text(json.dumps(changed))
        (tmp_path / "next.json").replace(tmp_path / "board.json")
    change()
    monkeypatch.setenv("PYTHONPATH", f"{FAKE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("FAKE_PICAMERA2", str(tmp_path))
    monkeypatch.syspath_prepend(FAKE)
    yield change
    for name in ("picamera2", "libcamera"):
        sys.modules.pop(name, None)


def started(folder: Path) -> dict[str, Any]:
    """What the fake wrote when it was started, and how."""
    found: dict[str, Any] = json.loads((folder / "started.json").read_text())
    return found


@contextmanager
def opened(source: str = "picamera2", **changes: Any) -> Iterator[PiCamera]:
    """The camera, open in this process."""
    with closing(PiCamera(make_settings(source, **changes))) as camera:
        yield camera


@pytest.mark.parametrize("source", ["picamera2", "auto"])
def test_frames_come_from_a_child(pi: Board, source: str) -> None:
    """A child gives whole frames with the sensor's time. Requests are released."""
    before_s = starved_s()
    with running(make_settings(source, width=100, height=50)) as camera:
        for _ in range(6):
            frame = eventually(lambda: camera.take(0.5))
            assert (frame.width, frame.height) == (100, 50)
            assert 5 <= (frame.handed_over_ns - frame.captured_ns) / 1e6 < 500
            camera.release(frame)
        assert same_child(camera, before_s)


@pytest.mark.parametrize("fault", ["hang", "hang in stop"])
def test_a_hanging_camera_gets_a_new_process(pi: Board, fault: str) -> None:
    """A camera that hangs is reported as stalled. A new process opens it, never the same one."""
    with running(make_settings("picamera2")) as camera, Consumer(camera):
        eventually(lambda: camera.status().state == "capturing")
        pid = camera.child_pid
        pi(fault=fault)
        if fault == "hang":
            eventually(lambda: camera.status().state == "stalled", within_s=4)
            eventually(lambda: camera.child_pid != pid)
            pi(fault="")
            eventually(lambda: camera.status().state == "capturing", within_s=10)
            assert camera.status().reopened == 0
    assert not Path(f"/proc/{pid}").exists()


def test_no_board_camera_is_waited_for(pi: Board) -> None:
    """With only a USB camera in picamera2's list, the source is offline until one is on the board."""
    pi(cameras=[USB])
    with running(make_settings("picamera2")) as camera:
        eventually(lambda: "sees no camera on the board" in (camera.status().cause or ""))
        assert f"0: C270 HD WEBCAM at {USB} (USB)" in (camera.status().cause or "")
        pi(cameras=[USB, CSI])
        eventually(lambda: camera.status().state == "capturing")


@pytest.mark.parametrize("order", [[USB, CSI, CSI_2], [CSI_2, USB, CSI]])
@pytest.mark.parametrize(("source", "place"), [
    ("picamera2", CSI), ("picamera2:0", CSI), ("picamera2:1", CSI_2), ("picamera2:imx708", CSI),
    ("picamera2:IMX219", CSI_2), ("picamera2:i2c@80000", CSI_2), (f"picamera2:{CSI}", CSI), ("picamera2:mx708", CSI)])
def test_the_named_camera_is_opened(pi: Board, tmp_path: Path, order: list[str], source: str, place: str) -> None:
    """The rule `index`: a number, name or place means picamera2's sorted list, however libcamera orders it."""
    pi(cameras=order)
    with opened(source):
        assert started(tmp_path)["place"] == place


@pytest.mark.parametrize(("source", "problem"), [
    ("picamera2:2", "no such camera on the board"), ("picamera2:9", "no such camera on the board"),
    ("picamera2:imx477", "no such camera on the board"), ("picamera2:usb", "no such camera on the board"),
    ("picamera2:C270 HD WEBCAM", "no such camera on the board"), ("picamera2:imx", "more than one camera fits")])
def test_a_camera_that_is_not_there_is_named_with_the_list(pi: Board, source: str, problem: str) -> None:
    """The rules `missing` and `usb`: the cause lists what is there, and a USB camera never takes its place."""
    pi(cameras=[USB, CSI, CSI_2])
    with pytest.raises(SourceMissing) as failure:
        PiCamera(make_settings(source))
    assert str(failure.value) == (f"{source}: {problem}; there are: 0: imx708 at {CSI}, 1: imx219 at {CSI_2}, "
                                  f"2: C270 HD WEBCAM at {USB} (USB)")


def test_an_exact_name_is_preferred_to_a_part() -> None:
    """A camera whose name begins alike does not make it ambiguous; two of one model are told apart by their place."""
    alike = [{"Model": "imx708_wide", "Id": "/base/i2c@88000/imx708@1a"},
             {"Model": "imx708", "Id": "/base/i2c@80000/imx708@1a"}]
    assert choose(alike, "picamera2:imx708") == 1
    assert [source_of(alike, number) for number in (0, 1)] == ["picamera2:imx708_wide", "picamera2:imx708"]
    twins = [camera | {"Model": "imx708"} for camera in alike]
    assert [source_of(twins, number) for number in (0, 1)] == [
        "picamera2:/base/i2c@88000/imx708@1a", "picamera2:/base/i2c@80000/imx708@1a"]


@pytest.mark.parametrize("platform", ["vc4", "pisp"])
@pytest.mark.parametrize("size", [(64, 48), (100, 50), (1280, 720), (1920, 1080)])
def test_colors_are_true_and_the_padding_is_cut(pi: Board, platform: str, size: tuple[int, int]) -> None:
    """The rules `colour`, `stride`, `queue` and `stream`: at every size the frame has the colours of the scene."""
    pi(platform=platform)
    with opened(width=size[0], height=size[1], fps=100.0) as camera:
        camera.grab()
        frame = camera.read(None)
    assert frame.shape == (size[1], size[0], 3)
    assert (frame == frame[0, 0]).all()
    assert np.abs(frame[0, 0].astype(int) - SHOWN).max() <= 2


@pytest.mark.parametrize(("place", "size", "mode"), [
    (CSI, (1280, 720), (2304, 1296)), (CSI, (640, 360), (2304, 1296)), (CSI, (2304, 1296), (2304, 1296)),
    (CSI, (2560, 1440), (4608, 2592)), (CSI_2, (1280, 720), (1640, 1232)), (CSI_2, (640, 480), (1640, 1232)),
    (CSI_2, (1920, 1080), (3280, 2464)), (CSI_2, (4000, 3000), (3280, 2464))])
def test_the_whole_field_is_seen(pi: Board, tmp_path: Path, place: str, size: tuple[int, int],
                                 mode: tuple[int, int]) -> None:
    """The rules `mode` and `crop`: the fastest mode that sees everything and has the pixels, at a rate it can keep."""
    pi(cameras=[place], memory=128 << 20)
    with opened(width=size[0], height=size[1], fps=60.0) as camera:
        assert tuple(started(tmp_path)["mode"]) == mode
        assert started(tmp_path)["crop"][:2] == [0, 0]
        assert camera.fps == pytest.approx({2304: 56.03, 4608: 14.35, 1640: 60, 3280: 21.19}[mode[0]], rel=1e-3)


def test_one_stream_fits_into_little_memory(pi: Board, tmp_path: Path) -> None:
    """The rules `raw` and `memory`: one stream of YUV420, no raw one: four frames of 1.4 MB at 1280 x 720."""
    pi(memory=6 << 20)
    with opened(width=1280, height=720):
        assert started(tmp_path)["streams"] == ["main"]


def test_the_tuning_file_is_kept(pi: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule `tuning`: the variable that names the tuning of a NoIR camera is still there when the camera opens."""
    monkeypatch.setenv("LIBCAMERA_RPI_TUNING_FILE", "/usr/share/libcamera/ipa/rpi/pisp/imx219_noir.json")
    with opened():
        assert started(tmp_path)["tuning"] == "/usr/share/libcamera/ipa/rpi/pisp/imx219_noir.json"


@pytest.mark.parametrize(("place", "focus", "expected"), [
    (CSI, None, {"AfMode": 2}), (CSI, 0.5, {"AfMode": 0, "LensPosition": 0.5}), (CSI_2, None, {})])
def test_the_lens_focuses(pi: Board, tmp_path: Path, place: str, focus: float | None, expected: dict[str, Any]) -> None:
    """The lens focuses all the time where it moves, or stays at a distance. Another camera has no such control."""
    pi(cameras=[place])
    with opened(focus=focus):
        found = started(tmp_path)["controls"]
    assert {name: value for name, value in found.items() if name in ("AfMode", "LensPosition")} == expected


def test_controls_are_set_before_the_first_frame(pi: Board, tmp_path: Path) -> None:
    """The rules `overwrite` and `rate`: names become numbers, numbers stay, the rate is that of the configuration."""
    with opened(fps=10.0, controls={"ExposureTime": 10_000, "AnalogueGain": 2, "AwbMode": "Daylight", "HdrMode": "Off",
                                    "ColourGains": [1.5, 2.0], "AeEnable": False, "AfWindows": [[0, 0, 64, 64]],
                                    "NoiseReductionMode": "HighQuality", "hflip": True}):
        found = started(tmp_path)
    assert found["controls"] == {
        "ExposureTime": 10_000, "AnalogueGain": 2, "AwbMode": 5, "HdrMode": 0, "ColourGains": [1.5, 2.0],
        "AeEnable": False, "AfWindows": [[0, 0, 64, 64]], "NoiseReductionMode": 2, "AfMode": 2,
        "FrameDurationLimits": [100_000, 100_000]}
    assert (found["hflip"], found["vflip"]) == (True, False)


@pytest.mark.parametrize(("controls", "focus", "words"), [
    ({"Exposure": 3}, None, "this camera has no Exposure; it has hflip, vflip, AeEnable, AnalogueGain, "),
    ({"LensPosition": 3}, None, "this camera has no LensPosition; it has "),
    ({"AnalogueGain": 17}, None, "AnalogueGain: 17, expected numbers from 1 to 16"),
    ({"ExposureTime": 1.5}, None, "ExposureTime: 1.5, expected whole numbers from 26 to "),
    ({"ExposureTime": True}, None, "ExposureTime: True, expected whole numbers from 26 to "),
    ({"FrameDurationLimits": [5, 10]}, None, "FrameDurationLimits: [5, 10], expected whole numbers from 11947"),
    ({"AwbMode": "Sunny"}, None, "'Sunny', expected one of Auto, Tungsten, Indoor, Daylight, Cloudy"),
    ({"HdrMode": False}, None, "HdrMode: False, expected one of Off, MultiExposureUnmerged, "),
    ({"Sharpness": "high"}, None, "'high', expected numbers from 0 to 16"),
    ({"AeEnable": 1}, None, "AeEnable: 1, expected true or false"),
    ({"ColourGains": []}, None, "ColourGains: [], expected numbers from 0 to 32"),
    ({"ScalerCrop": [[0, 0, 64]]}, None, "expected whole numbers: x, y, width, height"),
    ({"vflip": 1}, None, "vflip: 1, expected true or false"),
    ({}, 2.0, "camera.focus: this camera has no lens that moves")])
def test_a_control_that_cannot_be_is_refused_in_words(pi: Board, controls: dict[str, Any], focus: float | None,
                                                      words: str) -> None:
    """The rule `controls`: the message names those there are, or the range. The camera is closed, and opens again."""
    pi(cameras=[CSI_2])
    with pytest.raises(SourceInvalid) as failure:
        PiCamera(make_settings("picamera2", controls=controls, focus=focus))
    assert words in str(failure.value)
    with opened():
        pass


def test_a_failure_is_told_by_its_first_cause(pi: Board) -> None:
    """The rules `busy` and `memory`: the cause is told that libcamera gave, and the camera opens once it is gone."""
    with opened():
        assert in_fork(refusal_elsewhere) == (
            "SourceMissing: picamera2: Failed to acquire camera: Device or resource busy")
    pi(memory=1 << 20)
    with pytest.raises(SourceMissing, match=r"picamera2: \[Errno 12\] Cannot allocate memory"):
        PiCamera(make_settings("picamera2", width=1280, height=720))
    pi(memory=64 << 20)
    with opened():
        pass


def refusal_elsewhere() -> str:
    """Try to open the camera in a process that has not opened it."""
    sys.modules["picamera2"].Picamera2._open.clear()
    with pytest.raises(SourceError) as refusal:
        PiCamera(make_settings("picamera2"))
    return f"{refusal.type.__name__}: {refusal.value}"


def test_a_stalled_camera_can_be_stopped(pi: Board) -> None:
    """The rules `timeout`, `jobs` and `stop`: the job that got no frame is taken out of the line."""
    with opened(fps=100.0) as camera:
        camera.grab()
        pi(fault="hang")
        camera._timeout_s = 0.01
        with pytest.raises(ReadStalled):
            camera.grab()
        pi(fault="")
        camera._timeout_s = 10.0
        camera.grab()
        assert camera.read(None).any()


def test_the_report_lists_cameras_with_their_modes(pi: Board) -> None:
    """Each camera of the board has its sensor's modes and a source; one that is in use has its problem."""
    pi(cameras=[USB, CSI, CSI_2])
    found = report(modes=True)
    assert [(camera["name"], camera["usb"], camera["source"]) for camera in found["cameras"]] == [
        ("imx708", False, "picamera2:imx708"), ("imx219", False, "picamera2:imx219"), ("C270 HD WEBCAM", True, None)]
    assert [(mode["width"], mode["height"], mode["fps"]) for mode in found["cameras"][1]["modes"]] == [
        (640, 480, 206.65), (1640, 1232, 83.7), (1920, 1080, 47.57), (3280, 2464, 21.19)]
