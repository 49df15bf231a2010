"""Image files as they come."""

import os
from pathlib import Path

import pytest

from vedette.errors import SourceInvalid
from vedette.vision import images


def test_what_would_block_or_never_end_is_refused_unopened(tmp_path):
    """A pipe, a device and a folder are named as what they are."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path):
        with pytest.raises(SourceInvalid, match=r"expected an image file"):
            images.read(path)
    with pytest.raises(SourceInvalid, match=r"/dev/zero: no regular file"):
        images.read(Path("/dev/zero"))


def test_a_file_too_large_for_an_image_is_refused_unread(tmp_path):
    """A film named by mistake is not read into memory."""
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(images.FILE_BYTES_MAX + 1)
    with pytest.raises(SourceInvalid, match=r"MiB, more than"):
        images.read(path)
