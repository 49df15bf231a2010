"""A worker's heartbeat and its end."""

from __future__ import annotations

import threading

from tests.support.waiting.until import wait_until
from vedette._lib.worker import Worker


def test_a_longer_wait_is_announced() -> None:
    """A heartbeat within `within_s` is in time, though the worker's own limit is over."""
    has_beaten = threading.Event()

    def run(worker: Worker) -> None:
        assert wait_until(lambda: worker.late_s > 0)
        worker.beat(within_s=600)
        has_beaten.set()
        worker.stopping.wait(600)

    worker = Worker("patient", run, limit_s=0.0)
    worker.start()
    assert has_beaten.wait(240)
    assert worker.late_s == 0
    assert worker.stop(240)
    assert worker.late_s == 0


def test_a_failure_is_stored_and_reported_once() -> None:
    """`on_end` gets the worker with whatever left `run`; a second stop changes nothing."""
    failure = SystemExit(3)
    ended: list[Worker] = []

    def run(_: Worker) -> None:
        raise failure

    worker = Worker("frail", run, on_end=ended.append)
    worker.start()
    assert worker.stop(240)
    assert worker.stop(0)
    assert (worker.failure, ended) == (failure, [worker])
