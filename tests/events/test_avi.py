"""The AVI file: its layout byte by byte, and what players read from it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vedette.events.avi import AviWriter
from vedette.vision import jpeg

SLOTS = (1000, 1001, 1002, 1004, 1007, 1010, 1011, 1030)
"""With gaps: a slow detector, and a pause."""


def picture(grey: int, width: int = 64, height: int = 48) -> bytes:
    return jpeg.encode(np.full((height, width, 3), grey, np.uint8).data, 75)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film in which the grey says the slot."""
    path = tmp_path / "film.avi"
    writer = AviWriter(path, 64, 48, 10)
    for slot in SLOTS:
        writer.add(picture(20 + 6 * (slot - SLOTS[0])), slot)
    writer.close()
    assert writer.size_bytes == path.stat().st_size
    return path


def chunks(content: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and size of each chunk; they fill the place exactly."""
    while begin < end:
        name, size = struct.unpack_from("<4sI", content, begin)
        yield name, begin + 8, size
        begin += 8 + size + size % 2
    assert begin == end


def test_every_size_and_every_entry_of_the_index_is_right(film: Path) -> None:
    """Read with nothing but the rules of RIFF."""
    content = film.read_bytes()
    (riff,) = chunks(content, 0, len(content))
    assert (riff[0], content[8:12]) == (b"RIFF", b"AVI ")
    headers, movi, index = chunks(content, 12, len(content))
    assert [content[each[1]:each[1] + 4] for each in (headers, movi)] == [b"hdrl", b"movi"]
    inner = list(chunks(content, movi[1] + 4, movi[1] + movi[2]))
    assert {name for name, _, _ in inner} == {b"00dc"}
    assert len(inner) == SLOTS[-1] - SLOTS[0] + 1
    entries = list(struct.iter_unpack("<4sIII", content[index[1]:index[1] + index[2]]))
    assert entries == [(b"00dc", 16 if size else 0, at - 8 - movi[1], size) for _, at, size in inner]
    filled = [SLOTS[0] + number for number, (_, _, size) in enumerate(inner) if size]
    assert filled == list(SLOTS)
    assert all(content[at:at + 2] == b"\xff\xd8" for _, at, size in inner if size)
    frame_us, _, _, _, total, _, streams, _, width, height = struct.unpack_from("<10I", content, headers[1] + 12)
    assert (frame_us, total, streams, width, height) == (100_000, len(inner), 1, 64, 48)


def test_opencv_shows_each_picture_at_its_time(film: Path) -> None:
    """To a tenth of a second, whatever is missing between."""
    capture = cv2.VideoCapture(str(film))
    shown = []
    while (read := capture.read())[0]:
        shown.append((round(capture.get(cv2.CAP_PROP_POS_MSEC) / 100), round((float(read[1].mean()) - 20) / 6)))
    capture.release()
    assert shown == [(slot - SLOTS[0],) * 2 for slot in SLOTS]


def test_pyav_shows_each_picture_at_its_time(film: Path) -> None:
    """Another reader, where it is installed."""
    av = pytest.importorskip("av")
    with av.open(str(film)) as container:
        assert [round(frame.time * 10) for frame in container.decode(video=0)] == [slot - SLOTS[0] for slot in SLOTS]


def test_ffprobe_knows_the_film(film: Path) -> None:
    """The format, the codec and the length, where it is installed."""
    if shutil.which("ffprobe") is None:
        pytest.skip("there is no ffprobe")
    told = json.loads(subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", film],
                                     capture_output=True, check=True).stdout)
    assert told["format"]["format_name"] == "avi"
    assert told["streams"][0]["codec_name"] == "mjpeg"
    assert float(told["format"]["duration"]) == pytest.approx((SLOTS[-1] - SLOTS[0] + 1) / 10)


def test_the_size_is_known_before_the_end(tmp_path: Path) -> None:
    """Whoever has a quota knows how much the film takes, with the index that it will have."""
    writer = AviWriter(tmp_path / "film.avi", 64, 48, 10)
    for slot in range(50):
        writer.add(picture(slot), slot)
        before = writer.size_bytes
    writer.close()
    assert before == (tmp_path / "film.avi").stat().st_size


def test_the_mode_holds_under_any_umask(tmp_path: Path) -> None:
    """The unit's umask is 0077; a clip is there to be seen by its group."""
    before = os.umask(0o077)
    try:
        AviWriter(tmp_path / "film.avi", 64, 48, 10).close()
    finally:
        os.umask(before)
    assert (tmp_path / "film.avi").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("linked", [False, True])
def test_nothing_that_is_there_is_written_to(tmp_path: Path, linked: bool) -> None:
    """Neither a file nor, through a symbolic link, another one."""
    mine = tmp_path / ("mine" if linked else "film.avi")
    mine.write_text("mine")
    if linked:
        (tmp_path / "film.avi").symlink_to(mine)
    with pytest.raises(FileExistsError):
        AviWriter(tmp_path / "film.avi", 64, 48, 10)
    assert mine.read_text() == "mine"
