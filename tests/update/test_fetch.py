"""What other threads may read of a download at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import FakeClock
from tests.support.network.operators import Operator
from tests.support.network.rude_server import Behave, answering, serving
from tests.support.waiting.until import wait_until
from vedette._lib.background_task import BackgroundTask
from vedette.config.update import UpdateConfig
from vedette.store.model_store import ModelStore
from vedette.store.release import Target
from vedette.update.activate import ModelActivator
from vedette.update.fetch import ReleaseFetcher
from vedette.update.schedule import BUSY_FIRST_S, NUDGE_SPREAD_S, PollSchedule


def download(task: BackgroundTask[Path]) -> Path:
    task.progress = 0.25
    return Path()


class Ending(ReleaseFetcher):
    """A fetcher whose download ends as soon as somebody has read that there is one."""

    task: BackgroundTask[Path] | None = None

    @property
    def _under_way(self) -> tuple[Target, BackgroundTask[Path]] | None:
        task, self.task = self.task, None
        return None if task is None else (cast(Target, None), task)

    @_under_way.setter
    def _under_way(self, _: object) -> None:
        self.task = BackgroundTask("fetch", download)


def test_a_download_may_end_while_its_progress_is_read(tmp_path: Path) -> None:
    """Health asks on the main thread, and the update thread ends the download."""
    fetcher = Ending(ModelStore(tmp_path), UpdateConfig(), PollSchedule(60, 0), FakeClock(), device="gate",
                     clock_synced=lambda: True)
    assert fetcher.progress in (0.0, 0.25)
    assert fetcher.progress is None


def test_a_source_that_is_only_slow_answers_at_last(tmp_path: Path) -> None:
    """No metadata is verified within a tenth of a millisecond. Each next poll has twice the time, and each is told."""
    operator = Operator(tmp_path)
    operator.publish()
    root = tmp_path / "root.json"
    root.write_bytes(operator.root)
    store, clock = ModelStore(tmp_path / "models"), FakeClock()
    store.recover()
    fetcher = ReleaseFetcher(store, UpdateConfig(source=str(operator.served), root=root), PollSchedule(60, 0), clock,
                             device="gate", clock_synced=lambda: True, refresh_s=1e-4)
    told: set[str] = set()

    def answers() -> bool:
        clock.advance(60)
        fetcher.step(cast(ModelActivator, None))
        told.update(fetcher.reasons().values())
        return fetcher.offered is not None
    assert wait_until(answers)
    assert any("not done within 0.0001 s" in why for why in told), told
    assert fetcher.reasons() == {}


@pytest.mark.parametrize(("behave", "within_s"), [
    (answering(), BUSY_FIRST_S),
    (answering(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"), 7 + BUSY_FIRST_S),
    (answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), NUDGE_SPREAD_S),
], ids=["hangs up", "has too much to do", "fails"])
def test_a_busy_source_is_not_nudged(tmp_path: Path, behave: Behave, within_s: float) -> None:
    """The device comes when its own pause is over."""
    root = tmp_path / "root.json"
    root.write_bytes(Operator(tmp_path).root)
    store, clock = ModelStore(tmp_path / "models"), FakeClock()
    store.recover()
    with serving(behave) as port:
        update = UpdateConfig(source=f"http://127.0.0.1:{port}", root=root)
        fetcher = ReleaseFetcher(store, update, PollSchedule(3600, 0, lambda _low, high: high), clock, device="gate",
                                 clock_synced=lambda: True)
        clock.advance(60)

        def has_failed() -> bool:
            fetcher.step(cast(ModelActivator, None))
            return "update_unreachable" in fetcher.reasons()
        assert wait_until(has_failed)
    assert fetcher.nudge() == pytest.approx(within_s)
