"""What is meant by a source that names no file."""

import pytest

from vedette.camera.source_hint import hint


@pytest.mark.parametrize(("source", "said"), [
    ("0", "/dev/video0"), ("07", "/dev/video07"), ("video1", "/dev/video1"), ("dev/video2", "/dev/video2"),
    ("'0'", "/dev/video0"), ("\u201csynthetic\u201d", "synthetic"), ("Auto", "auto"), ("libcamera", "picamera2"),
    ("\u201cstreet.mp4\u201d", "street.mp4 meant, without quotes"), ("rtsp:/cam/1", "rtsp://… meant"),
    ("http//cam/1", "http://… meant"), ("file:street.mp4", "file://… meant"),
    ("192.168.1.20", "rtsp://… or http://… meant"), ("cam.local/stream", "rtsp://… or http://… meant"),
    ("user@10.0.0.3:554/h264", "rtsp://… or http://… meant"), ("cam:8554", "rtsp://… or http://… meant")])
def test_a_form_that_people_use_gets_a_hint(source: str, said: str) -> None:
    """OpenCV's number of a camera, a bare host, quotes of a word processor: the hint says what to write."""
    assert hint(source).startswith(f"is {said}")
    assert hint(source).endswith("?")


@pytest.mark.parametrize("source", ["street.mp4", "films/2024-01-02", "/srv/film.avi", "a b.mkv", "100"])
def test_a_path_is_just_not_there(source: str) -> None:
    """A name that looks like a path is not taken for anything else."""
    assert "meant" not in hint(source)
