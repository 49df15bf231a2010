"""Films with gaps and with damaged pictures."""

import logging
from pathlib import Path

import pytest

from tests.support.daemon.cameras import ClipMaker, make_settings, play_out, running, same_child
from tests.support.daemon.films import grey_jpeg, without_size, write_film
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually
from vedette.camera.child.cadence import LONGEST_GAP_NS, Playback
from vedette.camera.child.film import Film
from vedette.camera.child.source import PictureDamaged
from vedette.errors import SourceEnded, SourceInvalid

pytestmark = pytest.mark.slow


def film_of(path: Path, frames: int, damaged: set[int]) -> Path:
    """A film of so many pictures in tenths of a second, some of them damaged; the first has number 0."""
    return write_film(path, ((i, without_size(grey_jpeg(i)) if i in damaged else grey_jpeg(i)) for i in range(frames)))


def test_a_gap_longer_than_a_stall_is_played(tmp_path: Path) -> None:
    """The child says that it waits, so it is not replaced. Each picture comes once, at its time."""
    before_s = starved_s()
    film = write_film(tmp_path / "gap.mp4", ((i + 35 * (i > 2), grey_jpeg(i)) for i in range(6)))
    with running(make_settings(film)) as camera:
        frames, end = play_out(camera)
        assert same_child(camera, before_s)
    assert "6 frames" in end
    assert [grey for _, _, grey in frames] == pytest.approx([20 + 5 * i for i in range(6)], abs=2)
    assert (frames[3][1] - frames[2][1]) / 1e9 == pytest.approx(3.6, abs=0.1)


def test_a_gap_of_hours_is_not_waited_for() -> None:
    """A jump longer than `LONGEST_GAP_NS` is a damaged time: the film goes on at once."""
    playback, now_ns = Playback(), 10**12
    playback.due_ns(0, now_ns)
    assert playback.due_ns(LONGEST_GAP_NS, now_ns) == now_ns + LONGEST_GAP_NS
    assert playback.due_ns(3 * LONGEST_GAP_NS, now_ns) == now_ns
    assert playback.due_ns(3 * LONGEST_GAP_NS + 5, now_ns) == now_ns + 5


@pytest.mark.parametrize("damaged", [{9}, {0}, {3, 4, 5, 11}])
def test_damaged_pictures_are_skipped_and_counted(tmp_path: Path, damaged: set[int]) -> None:
    """The film goes on behind a picture that cannot be decoded, and its end names how many there were."""
    film = film_of(tmp_path / "damaged.mp4", 15, damaged)
    with running(make_settings(film, every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [grey for _, _, grey in frames] == pytest.approx([20 + 5 * i for i in range(15) if i not in damaged], abs=2)
    assert f"{15 - len(damaged)} frames, {len(damaged)} damaged" in end


def test_a_damaged_picture_is_in_health(tmp_path: Path) -> None:
    """The frame behind a damaged picture brings a health reason."""
    named = []
    with running(make_settings(film_of(tmp_path / "damaged.mp4", 25, {8}), every_frame=True)) as camera:
        for _ in range(20):
            frame = eventually(lambda: camera.take(1))
            named.append("camera_damaged" in camera.reasons())
            camera.release(frame)
    assert (named[0], named[15]) == (False, True)


def test_the_place_of_the_damage_is_named(tmp_path: Path) -> None:
    """The failure has the number of the first damaged picture, and the next grab gives the picture behind it."""
    film = Film(make_settings(film_of(tmp_path / "damaged.mp4", 9, {4, 5})))
    assert [film.grab() for _ in range(4)] == [i * 10**8 for i in range(4)]
    with pytest.raises(PictureDamaged, match=r"damaged\.mp4: 2 pictures from number 5 on"):
        film.grab()
    assert film.grab() == 6 * 10**8
    film.close()


def test_a_film_that_ends_damaged_says_so(tmp_path: Path) -> None:
    """Damaged pictures at the end are counted by what the file declares."""
    film = Film(make_settings(film_of(tmp_path / "damaged.mp4", 10, {8, 9})))
    for _ in range(8):
        film.grab()
    with pytest.raises(SourceEnded, match="8 frames, 2 missing of the 10 that it declares"):
        film.grab()
    film.close()


def test_a_film_of_damaged_pictures_alone_is_invalid(tmp_path: Path) -> None:
    """Nothing was seen, and the run must not end as if there had been nothing to see."""
    film = Film(make_settings(film_of(tmp_path / "damaged.mp4", 5, set(range(5)))))
    with pytest.raises(SourceInvalid, match="none of its frames"):
        film.grab()
    film.close()


def test_the_ordinary_end_of_a_film_is_no_warning(clip: ClipMaker, caplog: pytest.LogCaptureFixture) -> None:
    """That a film was played to its end is said at the level of information."""
    caplog.set_level(logging.INFO)
    with running(make_settings(clip(frames=3), every_frame=True)) as camera:
        play_out(camera)
    levels = [record.levelno for record in caplog.records if "played to its end" in record.getMessage()]
    assert levels == [logging.INFO]


@pytest.mark.parametrize(("content", "said"), [(b"", "the file is empty"), (b"\0\0\0\x18ftypisom" + bytes(9), "index"),
                                               (b"<html>", "cannot open it as a video$")])
def test_a_file_that_is_no_film_is_refused_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    """A download that failed, a recording that was cut off, and another kind of file."""
    film = tmp_path / "film.mp4"
    film.write_bytes(content)
    with pytest.raises(SourceInvalid, match=said):
        Film(make_settings(film))


def test_a_film_that_opens_slowly_is_played(clip: ClipMaker) -> None:
    """A slow disk is told at once and gets more time; it is not taken for a file that is no film."""
    with running(make_settings(clip()), "tests.support.daemon.slow_child") as camera:
        eventually(lambda: "no answer within 7 s" in str(camera.reasons().get("camera_offline")))
        frames, end = play_out(camera)
    assert frames
    assert "20 frames" in end
