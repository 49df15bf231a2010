"""The rhythm of frames: decimation and playback."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from vedette.camera.child.cadence import Decimation, Playback

SECOND = 1_000_000_000


@given(fps=st.floats(0.5, 120), source_fps=st.floats(0.5, 240),
       jitter=st.lists(st.floats(-0.1, 0.1), min_size=50, max_size=50))
def test_never_more_than_asked_and_never_far_less(fps: float, source_fps: float, jitter: list[float]) -> None:
    """From a source with jitter, at most `fps` frames are kept on average, and most of the possible ones."""
    decimation = Decimation(fps)
    stamps = [SECOND + int((i + jitter[i % 50]) / source_fps * SECOND) for i in range(200)]
    kept = sum(decimation.keep(stamp) for stamp in stamps)
    seconds = 200 / source_fps
    assert kept <= fps * seconds * 1.02 + 2
    assert kept >= min(200, fps * seconds) * 0.65 - 2


def test_half_of_a_steady_source() -> None:
    """A 30 fps camera asked for 15 gives every second frame."""
    decimation = Decimation(15)
    assert [decimation.keep(SECOND + i * SECOND // 30) for i in range(8)] == [True, False] * 4


def test_frames_that_are_missing_are_not_made_up_for() -> None:
    """After a gap, the frames that come all at once are not all kept."""
    decimation = Decimation(10)
    kept = [decimation.keep(SECOND + at_ms * 1_000_000) for at_ms in (0, 350, 360, 370, 380, 450)]
    assert kept == [True, True, False, False, False, True]


@given(st.lists(st.integers(0, 20_000_000), min_size=2, max_size=50))
def test_a_film_in_time_keeps_its_own_distances(delays: list[int]) -> None:
    """Frames are due at the distances of the film, unless playing is a second late."""
    playback = Playback()
    due = [playback.due_ns(i * 40_000_000, SECOND + i * 40_000_000 + late) for i, late in enumerate(delays)]
    assert all(b - a == 40_000_000 for a, b in itertools.pairwise(due))


def test_a_film_that_is_late_does_not_speed_up() -> None:
    """After a long stop the film continues from its position, at normal speed."""
    playback = Playback()
    playback.due_ns(0, SECOND)
    assert playback.due_ns(40_000_000, 60 * SECOND) == 60 * SECOND
    assert playback.due_ns(80_000_000, 60 * SECOND) == 60 * SECOND + 40_000_000
