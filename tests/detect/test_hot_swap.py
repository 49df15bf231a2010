"""What another thread may read at any moment of which detector is in use."""

from __future__ import annotations

from tests.support.fakes import FakeClock, FakeDetector
from vedette._lib.worker import Worker
from vedette.detect.hot_swap import HotSwap
from vedette.ports import Detector


class Watched(HotSwap):
    """Reads after each change of a field what another thread could read then."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        seen: list[bool] | None = self.__dict__.get("seen")
        if seen is not None:
            seen.append(self.is_empty)

    def watch(self) -> list[bool]:
        """Return what is read from now on."""
        seen: list[bool] = []
        self.__dict__["seen"] = seen
        return seen


def opened(detector: Detector | None) -> tuple[Watched, list[bool]]:
    swap = Watched(lambda: detector, FakeClock(), within_s=lambda: 1.0)
    seen = swap.watch()
    swap.open_if_due(Worker("detect", lambda worker: None), failing=False, failures=0)
    return swap, seen


def test_the_first_detector_is_never_missing() -> None:
    """Else the fallback is activated for a moment, and health says that there is no model."""
    swap, seen = opened(FakeDetector())
    assert seen
    assert not any(seen)
    assert swap.reasons() == {}


def test_no_model_is_known_once_it_was_asked_for() -> None:
    """Where nothing is to run there is no detector, and health says so."""
    swap, seen = opened(None)
    assert seen[-1]
    assert swap.reasons().keys() == {"no_model"}
