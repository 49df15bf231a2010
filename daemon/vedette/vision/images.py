"""Reads image files, and writes pictures, with boxes drawn if wanted.

Invariants: pixels are BGR and turned upright as the file's EXIF says. A file that is not a picture raises
`SourceInvalid`, and so does a JPEG that was cut off, because OpenCV would fill the rest with grey. 16-bit values that
use only 10, 12 or 14 bits are stretched, or the picture would be nearly black. OpenCV gets bytes, never a file name: a
name that is not UTF-8 crashes it (measured: 4.11 and 5.0).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette._lib.whole_file import read_whole
from vedette.errors import SourceInvalid
from vedette.types import Detection, Frame
from vedette.vision import jpeg

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 256 * 2**20
Array = NDArray[np.uint8]
_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
                       ".pbm", ".pnm"})
_KINDS = {"JPEG": re.compile(rb"\xff\xd8\xff"), "PNG": re.compile(rb"\x89PNG"), "GIF": re.compile(rb"GIF8"),
          "BMP": re.compile(rb"BM"), "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
          "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL), "TIFF": re.compile(rb"II\*\0|MM\0\*")}
_NO_IMAGES = {"HEIC": re.compile(rb"....ftyp(?:he|mif1|msf1)", re.DOTALL), "a PDF": re.compile(rb"%PDF"),
              "a page or drawing in HTML or XML": re.compile(rb"\s*<[!?a-zA-Z]"),
              "a pointer of Git LFS": re.compile(rb"version https://git-lfs"),
              "a video": re.compile(rb"....ftyp|RIFF....AVI|\x1a\x45\xdf\xa3", re.DOTALL)}
_RADIANCE = b"#?"
_BIT_DEPTHS = (8, 10, 12, 14)
_COLOURS = ((66, 135, 245), (80, 175, 76), (203, 107, 32), (60, 60, 220), (170, 70, 160), (20, 160, 200))
_WHITE = (255, 255, 255)


def read(path: Path) -> memoryview:
    """Return the pixels, (height, width, 3). Raises: SourceInvalid."""
    try:
        content = read_whole(path, FILE_BYTES_MAX)
    except OSError as error:
        raise SourceInvalid(f"{path}: {error.strerror}; expected an image file") from error
    return decode(content, str(path))


def decode(content: bytes, name: str) -> memoryview:
    """Return the pixels of an image file's content. Raises: SourceInvalid, with `name`."""
    if not content:
        raise SourceInvalid(f"{name}: the file is empty; expected an image file")
    try:
        pixels = _decoded(content)
    except cv2.error as error:      # the image has more pixels than OpenCV allows
        raise SourceInvalid(f"{name}: cannot be decoded as an image: {error.err}") from error
    except ValueError as error:
        raise SourceInvalid(f"{name}: {error}; expected a whole file") from error
    if pixels is None:
        raise SourceInvalid(f"{name}: {_what(content)}; expected JPEG, PNG, BMP, WebP, AVIF or TIFF")
    return pixels.data


def _what(content: bytes) -> str:
    """Say what a file is that OpenCV cannot decode, by its first bytes."""
    for kind, pattern in _KINDS.items():
        if pattern.match(content):
            return f"{kind}, damaged or cut off, or of a sort that OpenCV does not know"
    return next((f"{kind}, no image that OpenCV knows" for kind, pattern in _NO_IMAGES.items()
                 if pattern.match(content)), "not an image that OpenCV knows")


def suffixes() -> frozenset[str]:
    """Return the endings of file names that images have, in lower case. OpenCV is built with or without AVIF."""
    return _SUFFIXES | {".avif"} if cv2.haveImageWriter("a.avif") else _SUFFIXES


def frame_of(pixels: memoryview, seq: int = 1) -> Frame:
    """Return a still picture as a frame captured now."""
    now_ns = time.monotonic_ns()
    return Frame(seq=seq, pixels=pixels, captured_ns=now_ns, captured_at=datetime.now(UTC), handed_over_ns=now_ns)


def encode_png(pixels: memoryview, longest_px: int, compression: int = 9) -> bytes:
    """Return a PNG of the pixels, scaled down if a side is longer than `longest_px`. Raises: SourceInvalid.

    `compression` is 1 (fast) to 9 (small).
    """
    picture = np.asarray(pixels)
    share = longest_px / max(picture.shape[:2])
    if share < 1:
        size = (max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    encoded, content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    if not encoded:
        raise SourceInvalid(f"pixels of shape {picture.shape} cannot be encoded as PNG")
    return content.tobytes()


def draw_boxes(pixels: memoryview, detections: Iterable[Detection]) -> bytes:
    """Return a JPEG of the pixels with a box, label and score drawn for each detection."""
    return jpeg.encode(_with_boxes(pixels, detections).data)


def draw_side_by_side(pixels: memoryview, left: Iterable[Detection], right: Iterable[Detection]) -> bytes:
    """Return a JPEG of the pixels twice, each with its own detections."""
    return jpeg.encode(np.hstack((_with_boxes(pixels, left), _with_boxes(pixels, right))).data)


def _decoded(content: bytes) -> Array | None:
    """Return the pixels, or None for no image. Raises: ValueError for a JPEG that was cut off; cv2.error."""
    if jpeg.lacks_end(content):
        return _whole(content)
    pixels = _decoded_by_opencv(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.dtype == np.uint8:
        return pixels
    if content.startswith(_RADIANCE):       # its values have no limit, and OpenCV knows how to show them
        return _decoded_by_opencv(content, cv2.IMREAD_COLOR)
    return _eight_bits(pixels) if pixels.dtype.kind in "ui" else _from_fractions(pixels)


def _decoded_by_opencv(content: bytes, flags: int) -> Array | None:
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)  # type: ignore[return-value]


def _whole(content: bytes) -> Array | None:
    """Return the pixels of a JPEG without its end marker, if nothing else is missing. Raises: ValueError, cv2.error.

    Bytes before the end marker change nothing behind the last block, but they change a picture that lacks blocks.
    """
    content = content.rstrip(b"\xff")      # the first byte of the end marker
    pixels = _decoded_by_opencv(content + jpeg.END, cv2.IMREAD_COLOR)
    for filler in jpeg.FILLERS:
        other = _decoded_by_opencv(content + filler + jpeg.END, cv2.IMREAD_COLOR)
        if pixels is None or other is None or not np.array_equal(pixels, other):
            raise ValueError("a JPEG that was cut off")
    return pixels


def _eight_bits(pixels: NDArray[np.generic]) -> Array:
    """Return 16-bit values as bytes, by the number of bits that the largest one needs."""
    values = pixels.clip(0).astype(np.uint16, copy=False)
    peak = int(values.max())
    depth = next((bits for bits in _BIT_DEPTHS if peak < 1 << bits), 16)
    if depth < 16:
        log.info("a 16-bit picture holds %d bits; it is stretched", depth)
    return (values >> (depth - 8)).astype(np.uint8)


def _from_fractions(pixels: NDArray[np.generic]) -> Array:
    """Return values without a known range as bytes: those of 0-1 and 0-255 as they are meant, others stretched."""
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0).clip(0)
    peak = float(values.max())
    scale = 255.0 if peak <= 1 else min(1.0, 255 / peak)
    return (values * scale).astype(np.uint8)


def _with_boxes(pixels: memoryview, detections: Iterable[Detection]) -> Array:
    picture = np.array(pixels)
    height, width = picture.shape[:2]
    size = max(1, round(max(height, width) / 600))
    for found in detections:
        left, top = round(found.box.xmin * width), round(found.box.ymin * height)
        colour = _COLOURS[(found.class_id or 0) % len(_COLOURS)]
        cv2.rectangle(picture, (left, top), (round(found.box.xmax * width), round(found.box.ymax * height)), colour,
                      2 * size)
        text = found.label if found.score is None else f"{found.label} {found.score:.2f}"
        (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * size, size)
        floor = max(top, text_height + below)
        cv2.rectangle(picture, (left, floor - text_height - below), (left + text_width, floor), colour, cv2.FILLED)
        cv2.putText(picture, text, (left, floor - below // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * size, _WHITE, size)
    return picture
