"""Which V4L2 cameras are listed, against a fake driver. tests/campaign/v4l2.py has a driver of the kernel."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.faults.fake_v4l2 import IO_MC, M2M, META, STEPPED, WEBCAM, fake_ioctl, plug
from vedette.camera.v4l2 import Mode, V4L2Camera, cameras


def test_a_webcam_is_listed_with_its_modes(tmp_path: Path) -> None:
    """Name, place, formats, sizes and rates are those of the driver. The path is the stable one, once."""
    plug(tmp_path, "video0", WEBCAM, by_id="usb-C920-index0", by_path="pci-usb-index0")
    plug(tmp_path, "video1", WEBCAM | {"can": META}, by_id="usb-C920-index1", by_path="pci-usb-index1")
    assert cameras(tmp_path, fake_ioctl) == [V4L2Camera(
        str(tmp_path / "v4l/by-id/usb-C920-index0"), "HD Pro Webcam C920", "usb-0000:01:00.0-1.1", (
            Mode("YUYV", 640, 480, (30.0, 15.0)), Mode("MJPG", 640, 480, (30.0,)), Mode("MJPG", 1920, 1080, (30.0,))))]


def test_stable_names_come_first(tmp_path: Path) -> None:
    """A twin without a name of its own is named by its place, one without a place by its number."""
    plug(tmp_path, "video10", WEBCAM)
    plug(tmp_path, "video2", WEBCAM)
    plug(tmp_path, "video3", WEBCAM, by_path="pci-b")
    plug(tmp_path, "video4", WEBCAM, by_id="usb-a", by_path="pci-a")
    names = [Path(camera.path).name for camera in cameras(tmp_path, fake_ioctl)]
    assert names == ["usb-a", "pci-b", "video2", "video10"]


def test_any_size_in_steps_is_its_smallest_and_largest(tmp_path: Path) -> None:
    """A driver that scales has no list of sizes."""
    plug(tmp_path, "video0", STEPPED)
    assert cameras(tmp_path, fake_ioctl)[0].modes == (
        Mode("YUYV", 2, 1, (1000.0, 1.0)), Mode("YUYV", 8192, 4320, (1000.0, 1.0)))


@pytest.mark.parametrize("changed", [
    {"can": META}, {"can": M2M}, {"can": IO_MC}, {"driver": "bcm2835-isp"}, {"card": "pispbe"}, {"driver": "unicam"}])
def test_what_is_no_camera_is_left_out(tmp_path: Path, changed: dict[str, object]) -> None:
    """Metadata, codecs and the Pi's own image processor look like devices, and give no pictures."""
    plug(tmp_path, "video0", WEBCAM | changed)
    (tmp_path / "video1").write_text("no device")
    (tmp_path / "video2").symlink_to("gone")
    assert cameras(tmp_path, fake_ioctl) == []


@pytest.mark.parametrize("code", [errno.ENOTTY, errno.EIO, errno.ENODEV])
def test_a_driver_that_refuses_ends_its_list(tmp_path: Path, code: int) -> None:
    """A camera that is pulled out while it is asked has no modes, or is none."""
    plug(tmp_path, "video0", WEBCAM)

    def refusing(device: int, request: int, structure: bytearray) -> int:
        if request & 0xFF:
            raise OSError(code, os.strerror(code))
        return fake_ioctl(device, request, structure)
    assert [camera.modes for camera in cameras(tmp_path, refusing)] == [()]


def test_a_list_without_an_end_is_cut(tmp_path: Path) -> None:
    """A driver that answers every index with the same format does not hold the command."""
    plug(tmp_path, "video0", WEBCAM)

    def endless(device: int, request: int, structure: bytearray) -> int:
        if request & 0xFF == 75:
            structure[:4] = bytes(4)
        return fake_ioctl(device, request, structure)
    assert cameras(tmp_path, endless)[0].modes[0] == Mode("YUYV", 640, 480, (30.0,))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_device_without_permission_says_so(tmp_path: Path) -> None:
    """The remedy is the group video."""
    plug(tmp_path, "video0", WEBCAM).chmod(0o000)
    assert "group video" in (cameras(tmp_path, fake_ioctl)[0].problem or "")
