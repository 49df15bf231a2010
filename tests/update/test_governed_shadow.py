"""A shadow on a hot device with rare frames: no frame is lost between two comparisons, and the deadline waits."""

from __future__ import annotations

from typing import cast

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from vedette.store.release import ShadowRequirement
from vedette.store.state import Installed
from vedette.types import WHOLE, Box, Detection
from vedette.update.shadow import Shadow
from vedette.validate.candidate import Candidate, Comparison
from vedette.validate.frame_tap import FrameTap, TappedFrame

pytestmark = pytest.mark.slow

PERSON = Detection("person", 0, 0.8, Box(0.1, 0.1, 0.3, 0.5))
REQUIRED = ShadowRequirement(frames=3, minutes=0.01, deadline_minutes=0.05)
MODEL = Installed(sha256="ab" * 32, size=1, name="street", shadow=REQUIRED)


class Twin:
    """A candidate that sees what the active model saw; complains when it is shown a frame twice, or after its end."""

    roi = WHOLE

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.closed = False

    def compare(self, tapped: TappedFrame) -> Comparison:
        assert not self.closed
        assert tapped.seq not in self.seqs
        self.seqs.append(tapped.seq)
        return Comparison(tapped.detections, 3.0, 4.0)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("governed", "ruling"), [(True, "accepted"), (False, "refused")])
def test_a_governed_rate_is_no_want_of_evidence(governed: bool, ruling: str) -> None:
    """A frame every two seconds, three of them wanted within three: the deadline waits where the rate is governed."""
    clock, tap, twin = FakeClock(), FrameTap(), Twin()
    shadow = Shadow(MODEL, REQUIRED, cast(Candidate, twin), tap, clock, lambda *_: None, governed=lambda: governed)
    verdict = shadow.step()
    for second in range(1, 8):
        clock.advance(1)
        if second % 2 == 0:
            tap(make_result(make_frame(clock, second), (PERSON,)))
        verdict = shadow.step()
        if verdict.ruling != "undecided":
            break
    shadow.close()
    assert verdict.ruling == ruling
    assert twin.seqs == ([2, 4, 6] if governed else [2])
    assert twin.closed


def test_slow_comparisons_are_no_want_of_evidence() -> None:
    """Each takes two seconds, and three are wanted within six: the deadline waits for what is only slow."""
    clock, tap = FakeClock(), FrameTap()

    class SlowTwin(Twin):
        def compare(self, tapped: TappedFrame) -> Comparison:
            clock.advance(2)
            return super().compare(tapped)
    twin, required = SlowTwin(), REQUIRED.model_copy(update={"deadline_minutes": 0.1})
    shadow = Shadow(MODEL, required, cast(Candidate, twin), tap, clock, lambda *_: None, governed=lambda: False)
    verdict = shadow.step()
    while verdict.ruling == "undecided":
        clock.advance(0.1)
        tap(make_result(make_frame(clock, clock.now_ns), (PERSON,)))
        verdict = shadow.step()
    shadow.close()
    assert (verdict.ruling, len(twin.seqs)) == ("accepted", 3)
