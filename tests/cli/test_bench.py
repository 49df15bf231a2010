"""`vedette bench` on a camera that is slow to give its first frame."""

from tests.support.fakes import FakeCamera, FakeClock, FakeDetector, make_frame
from vedette.cli.bench import _time_frames
from vedette.types import Frame


class SlowCamera(FakeCamera):
    """Gives its first frame only to a caller who waits a minute."""

    def take(self, timeout_s: float) -> Frame | None:
        return None if timeout_s < 60 else super().take(timeout_s)


def test_a_camera_that_is_only_slow_is_waited_for() -> None:
    """An installation tries the new program so, and a slow board would refuse it for ever."""
    camera = SlowCamera([make_frame(FakeClock(), seq) for seq in (1, 2)])
    assert len(_time_frames(camera, FakeDetector(), 1, 1)[0]) == 1
