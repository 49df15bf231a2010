"""A folder of waiting messages that cannot be read at the start is read later, before anything is written to it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.fakes import IDENTITY, FakeClock
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.mqtt.outbox import Outbox
from vedette.mqtt.spool import Spool
from vedette.mqtt.spool_worker import RETRY_S, SpoolWorker
from vedette.types import Message


def worker(state: Path, clock: FakeClock) -> SpoolWorker:
    return SpoolWorker(Outbox(10), MqttConfig(host="127.0.0.1"), state, IDENTITY, clock, clock_synced=lambda: True)


def save(state: Path, payload: bytes) -> None:
    """One run that ends while the broker is away."""
    one = worker(state, FakeClock())
    one.start()
    one.outbox.put(Message("detections", payload))
    assert one.stop(60)


@contextmanager
def no_free_descriptors() -> Iterator[None]:
    """While it lasts, this process can open no file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open("/", os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_folder_that_cannot_be_listed_is_read_later(tmp_path: Path) -> None:
    """The reason says so meanwhile, and the messages of an earlier run are all there in the end."""
    save(tmp_path, b"1")
    clock = FakeClock()
    one = worker(tmp_path, clock)
    with no_free_descriptors():
        one.start()
        assert wait_until(lambda: "spool_failed" in one.reasons(), 10)
    one.outbox.put(Message("detections", b"2"))
    clock.advance(RETRY_S)
    assert wait_until(lambda: "spool_failed" not in one.reasons(), 10)
    assert one.stop(60)
    assert (one.worker.failure, one.outbox.dropped) == (None, 0)
    spool = Spool(tmp_path / "outbox", 1_000_000)
    assert spool.recover() is None
    assert len(spool) == 2
