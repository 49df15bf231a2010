"""Reading image files that are not normal files."""

import os
from pathlib import Path

import pytest

from vedette.errors import SourceInvalid
from vedette.vision import images


def test_a_path_that_could_block_is_refused_unopened(tmp_path: Path) -> None:
    """The error says that the path is a pipe, a device or a folder."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path):
        with pytest.raises(SourceInvalid, match=r"expected an image file"):
            images.read(path)
    with pytest.raises(SourceInvalid, match=r"/dev/zero: no regular file"):
        images.read(Path("/dev/zero"))


def test_a_file_too_large_for_an_image_is_refused_unread(tmp_path: Path) -> None:
    """A film that somebody names by mistake is not read into memory."""
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(images.FILE_BYTES_MAX + 1)
    with pytest.raises(SourceInvalid, match=r"MiB, more than"):
        images.read(path)
