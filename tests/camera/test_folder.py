"""A folder of images as a source."""

import cv2
import numpy as np
import pytest
from camera_parts import eventually, make_settings, play_out, running

from vedette.errors import SourceInvalid


def test_images_come_sorted_and_unreadable_ones_are_skipped(tmp_path):
    """Images come by name, of whatever size; a broken one is skipped and counted in the end's words."""
    for i in (3, 1, 2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30 + i, 40, 3), 50 * i, np.uint8))
    (tmp_path / "0.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("ignored")
    with running(make_settings(tmp_path, every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [grey for _, _, grey in frames] == [50, 100, 150]
    assert "3 images, 1 unreadable" in end


def test_a_folder_in_real_time_shows_fps_images_a_second(tmp_path):
    """Played in real time, a folder shows `fps` images per second."""
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 20, 3), 50 * i, np.uint8))
    with running(make_settings(tmp_path, fps=10.0)) as camera:
        frames, _ = play_out(camera)
    assert frames[-1][1] - frames[0][1] == pytest.approx(0.4e9)


@pytest.mark.parametrize("content", [None, b"no image", b"P6 60000 60000 255\n"])
def test_no_usable_image_is_invalid(tmp_path, content):
    """An empty folder, or one with only broken images or a dimension bomb, is no source."""
    if content:
        (tmp_path / "a.ppm").write_bytes(content)
    with running(make_settings(tmp_path)) as camera:
        eventually(lambda: camera.status().cause != "starting")
        with pytest.raises(SourceInvalid, match=tmp_path.name):
            camera.take(1)
