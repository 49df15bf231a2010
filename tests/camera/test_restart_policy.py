"""When a capture child is replaced, and when the daemon gives up."""

from hypothesis import given
from hypothesis import strategies as st

from vedette._lib.patience import MOST_S
from vedette.camera.restart_policy import (
    REPLACEMENTS_WITHOUT_FRAME,
    Replacements,
    open_limit_s,
    reopen_delay_s,
    start_limit_s,
)


def test_the_first_replacement_is_at_once_and_the_eleventh_is_none() -> None:
    """Children that die at once are replaced ten times, with growing delays. Then the daemon gives up."""
    replacements = Replacements()
    delays = [replacements.replaced(lived_s=0.1) for _ in range(REPLACEMENTS_WITHOUT_FRAME + 1)]
    assert delays[0] == 0.0
    assert delays[-1] is None
    growing = [delay for delay in delays if delay is not None]
    assert len(growing) == REPLACEMENTS_WITHOUT_FRAME
    assert growing == sorted(growing)


def test_a_frame_starts_the_count_again() -> None:
    """As long as every child gives a frame, replacing never ends."""
    replacements = Replacements()
    for _ in range(100):
        assert replacements.replaced(lived_s=5) == 0.0
        replacements.worked()
    assert replacements.total == 100


@given(st.integers(0, 1000), st.floats(0, 1))
def test_reopening_never_takes_long(attempt: int, jitter: float) -> None:
    """The delay before reopening has jitter, grows, and is short enough for recovery within 10 s."""
    assert 0.07 <= reopen_delay_s(attempt, lambda: jitter) <= 4.0


@given(st.integers(0, 1000))
def test_an_opening_may_take_longer_each_time(slow_openings: int) -> None:
    """The first opening is short enough for recovery within 10 s, a later one may take minutes."""
    assert open_limit_s(0) <= 8
    assert open_limit_s(slow_openings) <= open_limit_s(slow_openings + 1) <= MOST_S
    assert start_limit_s(slow_openings) <= start_limit_s(slow_openings + 1) <= MOST_S
    assert open_limit_s(10) == start_limit_s(10) == MOST_S


def test_a_child_that_is_only_silent_is_never_the_last() -> None:
    """It may be slow, and each next one has more time."""
    replacements = Replacements()
    assert None not in [replacements.replaced(lived_s=5, silent=True) for _ in range(100)]
