"""Reading image files that are not normal files."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

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


def scene(size: tuple[int, int] = (90, 120)) -> NDArray[np.uint8]:
    blocks = np.random.default_rng(0).integers(0, 255, (size[0] // 10, size[1] // 10, 3), np.uint8)
    return blocks.repeat(10, 0).repeat(10, 1)


def encoded(picture: NDArray[np.uint8] | NDArray[np.uint16], suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, picture, options)[1].tobytes()


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
@pytest.mark.parametrize("picture", [scene(), np.full((90, 120, 3), 90, np.uint8)], ids=["scene", "flat"])
def test_a_jpeg_without_its_end_marker_is_used(picture: NDArray[np.uint8],
                                               options: tuple[int, ...]) -> None:
    """A picture that is whole but for FF D9, or for its second byte, has the same pixels."""
    whole = encoded(picture, ".jpg", *options)
    for content in (whole[:-2], whole[:-1]):
        assert np.array_equal(images.decode(content, "a.jpg"), images.decode(whole, "a.jpg"))


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
@pytest.mark.parametrize("left", [0.97, 0.8, 0.5])
def test_a_jpeg_that_was_cut_off_is_refused(left: float, options: tuple[int, ...]) -> None:
    """Grey in place of the missing part could hide what there was."""
    whole = encoded(scene((240, 320)), ".jpg", *options)
    with pytest.raises(SourceInvalid, match=r"a\.jpg: a JPEG that was cut off"):
        images.decode(whole[:int(len(whole) * left)], "a.jpg")


def test_bytes_behind_a_jpeg_do_not_matter() -> None:
    """Cameras append data of their own, and a preview has an end marker of its own in front of the picture."""
    whole = encoded(scene(), ".jpg")
    preview = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    for content in (whole + b"more", whole[:2] + preview + whole[2:], whole[:2] + preview + whole[2:-2]):
        assert np.array_equal(images.decode(content, "a.jpg"), images.decode(whole, "a.jpg"))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize(("peak", "brightest"), [(200, 200), (1020, 255), (4095, 255), (16000, 250), (65535, 255)])
def test_sixteen_bits_that_hold_fewer_are_stretched(suffix: str, peak: int, brightest: int) -> None:
    """The bits in use decide the brightness. Before, a 10-bit picture was nearly black."""
    picture = np.linspace(0, peak, 90 * 120).astype(np.uint16).reshape(90, 120)
    pixels = np.asarray(images.decode(encoded(picture, suffix), "a"))
    assert pixels.shape == (90, 120, 3)
    assert (int(pixels.min()), int(pixels.max())) == (0, brightest)


def test_avif_is_an_image_where_opencv_reads_it() -> None:
    """The ending counts only with an OpenCV that was built with AVIF."""
    assert (".avif" in images.suffixes()) == cv2.haveImageWriter("a.avif")
    if ".avif" in images.suffixes():
        assert images.decode(encoded(scene(), ".avif"), "a.avif").shape == (90, 120, 3)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG, damaged"), (".webp", "WebP, damaged"),
                                              (".bmp", "BMP, damaged"), (".tiff", "TIFF, damaged")])
def test_a_damaged_picture_is_called_by_its_kind(suffix: str, kind: str) -> None:
    """A file that was cut off is no unknown kind."""
    content = cv2.imencode(suffix, scene())[1].tobytes()
    with pytest.raises(SourceInvalid, match=f"half: {kind} or cut off"):
        images.decode(content[:len(content) // 2], "half")


@pytest.mark.parametrize(("content", "said"), [
    (b"", "the file is empty"), (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, no image"), (b"%PDF-1.4", "a PDF, no image"),
    (b"<!doctype html>", "a page or drawing in HTML"), (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    (b"\0\0\0\x18ftypisom\0\0\0\0", "a video, no image"), (b"hello", "not an image that OpenCV knows")])
def test_what_is_no_picture_is_called_by_its_kind(content: bytes, said: str) -> None:
    """A download that failed, or a kind that must be converted first."""
    with pytest.raises(SourceInvalid, match=said):
        images.decode(content, "x.jpg")


@pytest.mark.parametrize("peak", [1.0, 255.0, 4000.0])
def test_a_picture_of_fractions_is_not_black(peak: float) -> None:
    """Values of 0-1, of bytes and of any other range."""
    picture = cv2.imencode(".pfm", np.full((8, 8, 3), peak, np.float32))[1].tobytes()
    assert np.asarray(images.decode(picture, "x.pfm")).min() == 255
