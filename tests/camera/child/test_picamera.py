"""The Pi camera adapter with a strict fake of picamera2, in a real capture child."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon.cameras import Consumer, make_settings, running, same_child
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually

pytestmark = pytest.mark.slow

FAKE = Path(__file__).parent / "fake_picamera2"


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Put the fake where the child finds it. Return the function that orders a fault."""
    order = tmp_path / "order"
    order.write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{FAKE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("FAKE_PICAMERA2", str(order))
    return order.write_text


@pytest.mark.parametrize("source", ["picamera2", "auto"])
@pytest.mark.parametrize("size", [(64, 48), (100, 50)])
def test_frames_come_without_padding_and_with_the_sensor_time(pi: Callable[[str], int], source: str,
                                                              size: tuple[int, ...]) -> None:
    """Padded YUV rows become a BGR frame of the configured size with the sensor's time. Requests are released."""
    before_s = starved_s()
    with running(make_settings(source, width=size[0], height=size[1])) as camera:
        for _ in range(6):
            frame = eventually(lambda: camera.take(0.5))
            assert (frame.width, frame.height) == size
            pixels = frame.pixels.tobytes()
            assert len(set(pixels)) == 1
            assert pixels[0] < 60
            assert 5 <= (frame.handed_over_ns - frame.captured_ns) / 1e6 < 500
            camera.release(frame)
        assert same_child(camera, before_s)


@pytest.mark.parametrize("fault", ["hang", "hang in stop"])
def test_a_hanging_camera_gets_a_new_process(pi: Callable[[str], int], fault: str) -> None:
    """A camera that hangs is reported as stalled. A new process opens it, never the same one."""
    with running(make_settings("picamera2")) as camera, Consumer(camera):
        eventually(lambda: camera.status().state == "capturing")
        pid = camera.child_pid
        pi(fault)
        if fault == "hang":
            eventually(lambda: camera.status().state == "stalled", within_s=4)
            eventually(lambda: camera.child_pid != pid)
            pi("")
            eventually(lambda: camera.status().state == "capturing", within_s=10)
            assert camera.status().reopened == 0
    assert not Path(f"/proc/{pid}").exists()


def test_no_board_camera_is_waited_for(pi: Callable[[str], int]) -> None:
    """With only a USB camera in picamera2's list, the source is offline until one is on the board."""
    pi("none")
    with running(make_settings("picamera2")) as camera:
        eventually(lambda: "sees no camera" in (camera.status().cause or ""))
        pi("")
        eventually(lambda: camera.status().state == "capturing")
