"""A folder of images as a source."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.daemon.cameras import make_settings, play_out, running
from tests.support.waiting.until import eventually
from vedette.errors import SourceInvalid


def test_images_come_sorted_and_unreadable_ones_are_skipped(tmp_path: Path) -> None:
    """Images of any size come sorted by name. A broken one is skipped and counted in the message at the end."""
    for i in (3, 1, 2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30 + i, 40, 3), 50 * i, np.uint8))
    (tmp_path / "0.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("ignored")
    with running(make_settings(tmp_path, every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [grey for _, _, grey in frames] == [50, 100, 150]
    assert "3 images, 1 unreadable" in end


def test_a_folder_in_real_time_shows_fps_images_a_second(tmp_path: Path) -> None:
    """A folder in real time shows `fps` images per second, whether or not each is taken in time."""
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 20, 3), 50 * i, np.uint8))
    with running(make_settings(tmp_path, fps=10.0)) as camera:
        frames, _ = play_out(camera)
    moments_ns = {captured_ns - grey / 50 * 1e8 for _, captured_ns, grey in frames}
    assert max(moments_ns) - min(moments_ns) == pytest.approx(0, abs=1e3)
    assert len(frames) > 1


@pytest.mark.parametrize("content", [None, b"no image", b"P6 60000 60000 255\n"])
def test_no_usable_image_is_invalid(tmp_path: Path, content: bytes | None) -> None:
    """An empty folder, or one with only broken images or a dimension bomb, is refused."""
    if content:
        (tmp_path / "a.ppm").write_bytes(content)
    with running(make_settings(tmp_path)) as camera:
        eventually(lambda: camera.status().cause != "starting")
        with pytest.raises(SourceInvalid, match=tmp_path.name):
            camera.take(1)


def test_pipes_devices_and_folders_of_an_image_name_are_skipped(tmp_path: Path) -> None:
    """Files that block or never end are not opened, whatever their name is."""
    os.mkfifo(tmp_path / "1.jpg")
    (tmp_path / "2.png").symlink_to("/dev/zero")
    (tmp_path / "3.bmp").mkdir()
    cv2.imwrite(str(tmp_path / "4.png"), np.full((30, 40, 3), 50, np.uint8))
    with running(make_settings(tmp_path, every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [grey for _, _, grey in frames] == [50]
    assert "1 images, 3 unreadable" in end


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    """OpenCV crashes when it opens such a name itself (measured, 4.11 and 5.0)."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((30, 40, 3), 50, np.uint8))
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"k\xfcche.png"))
    with running(make_settings(tmp_path, every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [grey for _, _, grey in frames] == [50]
    assert "1 images" in end


def test_numbers_in_names_are_sorted_as_people_count(tmp_path: Path) -> None:
    """frame2 comes before frame10."""
    names = ["frame1.png", "frame2.png", "frame2b.png", "frame10.png", "frame010.png", "frame11.png"]
    for i, name in enumerate(reversed(names)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 20, 3), 250 - 40 * i, np.uint8))
    with running(make_settings(tmp_path, every_frame=True)) as camera:
        frames, _ = play_out(camera)
    assert [grey for _, _, grey in frames] == [50, 90, 130, 210, 170, 250]
