"""When a child counts as hung before it has sent anything."""

import pytest

from tests.support.daemon.cameras import make_settings
from tests.support.fakes import FakeClock
from vedette.camera.session import Session


@pytest.mark.parametrize(("slow_openings", "within_s"), [(0, 15), (1, 30), (2, 60)])
def test_a_child_that_starts_slowly_gets_more_time(slow_openings: int, within_s: float) -> None:
    """Each child whose predecessor gave no frame in time may take twice as long to start."""
    clock = FakeClock()
    session = Session(make_settings("film.mp4", slow_openings=slow_openings), "tests.support.daemon.silent_child", 1,
                      clock)
    try:
        clock.advance(within_s - 1)
        assert session.silence() is None
        clock.advance(2)
        assert "overdue" in str(session.silence())
    finally:
        session.end(gracefully=False)
