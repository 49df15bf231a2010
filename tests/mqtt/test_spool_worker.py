"""The outbox on disk behind a real broker: what a subscriber receives, and what health reports, for any failure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.mosquitto import Mosquitto, configuration, running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import MqttConfig
from vedette.mqtt.backfill import SAVE_AFTER_S
from vedette.mqtt.outbox import Outbox
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.spool_worker import SpoolWorker
from vedette.types import Acknowledged, Message, RunIdentity

pytestmark = pytest.mark.slow

WRONG_BY = timedelta(days=3650)


class LateClock(SystemClock):
    """A clock that is ten years behind until it is set."""

    is_set = True

    def utc_now(self) -> datetime:
        return super().utc_now() - (timedelta() if self.is_set else WRONG_BY)


@dataclass
class Device:
    """One run of the device's side, with a clock that the test sets."""

    run: int
    spool: SpoolWorker
    publisher: MqttPublisher
    clock: LateClock

    def publish(self, *seqs: int) -> None:
        """Publish results as the reporter does."""
        for seq in seqs:
            payload = {"run": self.run, "seq": seq, "backfilled": False, "frame": {
                "captured_at": self.clock.utc_now().isoformat(), "clock_synced": self.clock.is_set}}
            self.publisher.publish(Message(
                "detections", json.dumps(payload).encode(), seq=seq,
                unsynced_ns=None if self.clock.is_set else self.clock.monotonic_ns()))

    def spools(self, count: int) -> bool:
        """Whether this many messages get on disk, and none stays in memory."""
        return wait_until(lambda: (self.publisher.status().spooled, self.publisher.status().outbox_depth) == (count, 0))

    def connects(self) -> bool:
        return wait_until(lambda: self.publisher.status().connected)

    def stop(self) -> None:
        assert self.publisher.stop(60)
        assert self.spool.stop(60)
        assert (self.publisher.worker.failure, self.spool.worker.failure) == (None, None)


def has_nothing_left(one: Device) -> bool:
    return one.publisher.status().outbox_depth == 0


@contextmanager
def device(state: Path, mqtt: MqttConfig, run: int = 1, boot_id: str = "boot", *, is_set: bool = True,
           ) -> Iterator[Device]:
    state.mkdir(exist_ok=True)
    clock = LateClock()
    clock.is_set = is_set
    spool = SpoolWorker(Outbox(mqtt.outbox_messages), mqtt, state, RunIdentity("gate-01", run, boot_id), clock,
                        clock_synced=lambda: clock.is_set)
    publisher = MqttPublisher(configuration(mqtt), "gate-01", clock, spool=spool)
    spool.start()
    publisher.start()
    one = Device(run, spool, publisher, clock)
    try:
        yield one
    finally:
        one.stop()


@dataclass
class Scene:
    """A state folder, a broker, the network before it, and a subscriber to results behind it."""

    state: Path
    broker: Mosquitto
    proxy: CuttingProxy
    subscriber: Subscriber

    def mqtt(self, **changes: Any) -> MqttConfig:
        """A configuration: five waiting messages are half of the room, and go to disk at once."""
        return MqttConfig(**{"host": "127.0.0.1", "port": self.proxy.port, "outbox_messages": 10, "replay_per_s": 500,
                             **changes})

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in tuple(self.subscriber.received)]

    def published(self) -> list[tuple[int, int, bool]]:
        return [(one["run"], one["seq"], one["backfilled"]) for one in self.results()]

    def receives(self, count: int) -> bool:
        return wait_until(lambda: len(self.subscriber.received) >= count)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with running(tmp_path) as broker, CuttingProxy(broker.port) as proxy, \
            listening(broker.client(), "vedette/gate-01/detections") as subscriber:
        yield Scene(tmp_path / "state", broker, proxy, subscriber)


def test_messages_of_an_outage_arrive_through_the_disk(scene: Scene) -> None:
    """Messages on disk arrive in order and marked, behind live ones, and nothing stays on disk."""
    with device(scene.state, scene.mqtt(replay_per_s=20)) as one:
        assert one.connects()
        scene.proxy.refusing = True
        scene.proxy.cut()
        assert wait_until(lambda: not one.publisher.status().connected)
        for first in range(1, 31, 5):
            one.publish(*range(first, first + 5))
            assert one.spools(first + 4)
        scene.proxy.refusing = False
        assert one.connects()
        one.publish(31)
        assert scene.receives(31)
        assert wait_until(lambda: one.publisher.status().spooled == 0)
        assert (one.publisher.status().outbox_dropped, one.publisher.status().spool_bytes) == (0, 0)
    assert [published for published in scene.published() if published[2]] == [(1, seq, True) for seq in range(1, 31)]
    assert (1, 31, False) in scene.published()[:20]
    assert not list((scene.state / "outbox").iterdir())


def test_a_message_that_waits_too_long_is_saved(scene: Scene) -> None:
    """One result alone waits in memory for SAVE_AFTER_S only: a kill can cost no older one."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt(outbox_messages=1000)) as one:
        one.publish(1)
        assert wait_until(lambda: one.publisher.status().spooled == 1, SAVE_AFTER_S + 1.5)


def test_a_kill_loses_no_saved_message(scene: Scene) -> None:
    """The next run needs only the state folder as it was at the kill."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt()) as one:
        one.publish(*range(1, 8))
        assert one.spools(7)
        shutil.copytree(scene.state, scene.state.with_name("at the kill"))
    scene.proxy.refusing = False
    with device(scene.state.with_name("at the kill"), scene.mqtt(), run=2) as one:
        one.publish(1)
        assert scene.receives(8)
    assert sorted(scene.published()) == [*((1, seq, True) for seq in range(1, 8)), (2, 1, False)]


def test_a_restart_during_the_backfill_loses_nothing(scene: Scene) -> None:
    """Messages that the broker has are not sent again, except the batch in flight."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt()) as one:
        for first in range(1, 51, 5):
            one.publish(*range(first, first + 5))
            assert one.spools(first + 4)
    scene.proxy.refusing = False
    with device(scene.state, scene.mqtt(replay_per_s=20), run=2):
        assert scene.receives(22)
    received = len(scene.subscriber.received)
    assert 22 <= received < 50
    with device(scene.state, scene.mqtt(), run=3) as one:
        assert one.connects()
        assert wait_until(lambda: {published[1] for published in scene.published()} == set(range(1, 51)))
        assert wait_until(lambda: one.publisher.status().spooled == 0)
    assert len(scene.published()) <= 50 + 5
    later = scene.published()[received:]
    assert [seq for _, seq, _ in later] == list(range(51 - len(later), 51))


def test_the_last_acknowledged_result_of_the_previous_run_is_known(scene: Scene) -> None:
    """The next run knows it, also after a run without a connection; a message on disk is not acknowledged."""
    with device(scene.state, scene.mqtt()) as one:
        assert one.publisher.status().acknowledged_before is None
        assert one.connects()
        one.publish(1, 2, 3)
        assert one.publisher.flush(10)
        scene.proxy.refusing = True
        scene.proxy.cut()
        assert wait_until(lambda: not one.publisher.status().connected)
        one.publish(4)
    with device(scene.state, scene.mqtt(), run=2) as one:
        assert one.publisher.status().acknowledged_before == Acknowledged(1, 3)
    with device(scene.state, scene.mqtt(), run=3) as one:
        assert one.publisher.status().acknowledged_before == Acknowledged(1, 3)


def test_a_silent_network_duplicates_nothing(scene: Scene) -> None:
    """A message in flight too long is saved; when its acknowledgement arrives after all, it is not sent again."""
    with device(scene.state, scene.mqtt(outbox_messages=1000)) as one:
        assert one.connects()
        scene.broker.freeze()
        one.publish(1, 2, 3)
        assert wait_until(lambda: one.publisher.status().spooled == 3)
        scene.broker.thaw()
        assert scene.receives(3)
        assert wait_until(lambda: one.publisher.status().spooled == 0)
        one.publish(4)
        assert scene.receives(4)
    assert scene.published() == [(1, seq, False) for seq in (1, 2, 3, 4)]


@pytest.mark.parametrize(("boot_id", "right"), [("boot", True), ("another", False)])
def test_time_stamps_are_corrected_once_the_clock_is_set(scene: Scene, boot_id: str, right: bool) -> None:
    """Those of the same boot are corrected; those of another boot stay, marked as possibly wrong."""
    scene.proxy.refusing = True
    began = datetime.now(UTC)
    with device(scene.state, scene.mqtt(), is_set=False) as one:
        one.publish(*range(5))
        assert one.spools(5)
    ended = datetime.now(UTC)
    scene.proxy.refusing = False
    with device(scene.state, scene.mqtt(), 2, boot_id, is_set=True):
        assert scene.receives(5)
    frames = [one["frame"] for one in scene.results()]
    tolerance = timedelta(milliseconds=5)
    assert all(frame["clock_synced"] == right for frame in frames)
    assert all((began - tolerance < datetime.fromisoformat(frame["captured_at"]) < ended + tolerance) == right
               for frame in frames)


def test_time_stamps_in_memory_are_corrected_too(scene: Scene) -> None:
    """The clock may be set during a short wait for the broker."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt(outbox_messages=1000), is_set=False) as one:
        one.publish(1)
        one.clock.is_set = True
        scene.proxy.refusing = False
        assert scene.receives(1)
    frame = scene.results()[0]["frame"]
    assert frame["clock_synced"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(frame["captured_at"])) < timedelta(minutes=1)


def test_a_failing_disk_is_reported_and_memory_is_used(scene: Scene) -> None:
    """While no write works results wait in memory, bounded and counted; later they are saved."""
    scene.state.mkdir()
    (scene.state / "outbox").write_text("in the way")
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt()) as one:
        one.publish(*range(1, 13))
        assert wait_until(lambda: "spool_failed" in one.publisher.reasons(), 5)
        status = one.publisher.status()
        assert "outbox" in one.publisher.reasons()["spool_failed"]
        assert (status.spooled, status.outbox_depth) == (0, 10)
        assert wait_until(lambda: one.publisher.status().dropped_ever == {"detections": 2})
        (scene.state / "outbox").unlink()
        assert one.spools(10)
        assert wait_until(lambda: "spool_failed" not in one.publisher.reasons(), 10)
        scene.proxy.refusing = False
        assert scene.receives(10)
    assert [seq for _, seq, _ in scene.published()] == list(range(3, 13))


def is_named(one: Device) -> bool:
    return "spool_failed" in one.publisher.reasons()


def test_a_missing_state_folder_is_reported_while_it_is_missing(scene: Scene) -> None:
    """This holds also with a broker and nothing to save."""
    with device(scene.state, scene.mqtt()) as one:
        assert one.connects()
        one.publish(1)
        assert wait_until((scene.state / "outbox.mark").exists)
        scene.state.rename(scene.state.with_name("elsewhere"))
        assert wait_until(lambda: is_named(one), 5)
        scene.state.with_name("elsewhere").rename(scene.state)
        assert wait_until(lambda: not is_named(one), 10)


@pytest.fixture
def small_disk(scene: Scene) -> Iterator[Path]:
    """The state folder on a small disk."""
    scene.state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", scene.state], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a disk needs root")
    yield scene.state
    subprocess.run(["umount", "-l", scene.state], check=True)


def test_a_read_only_disk_is_reported_while_it_is_read_only(scene: Scene, small_disk: Path) -> None:
    """This holds also with a broker and nothing to save."""
    with device(small_disk, scene.mqtt()) as one:
        assert one.connects()
        one.publish(1)
        assert wait_until((small_disk / "outbox.mark").exists)
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        assert wait_until(lambda: is_named(one), 5)
        assert "read-only" in one.publisher.reasons()["spool_failed"].lower()
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        assert wait_until(lambda: not is_named(one), 10)


def test_a_full_disk_is_reported_and_memory_is_used(scene: Scene, small_disk: Path) -> None:
    """Saved messages stay, others wait in memory, and all of them arrive in the end."""
    scene.proxy.refusing = True
    with device(small_disk, scene.mqtt(outbox_messages=20)) as one:
        one.publish(*range(1, 11))
        assert one.spools(10)
        with pytest.raises(OSError, match="space"):
            (small_disk / "else").write_bytes(b"x" * 1_000_000)
        one.publish(*range(11, 21))
        one.publisher.publish(Message("reply", os.urandom(5000)))      # no room in the page that is there either
        assert wait_until(lambda: is_named(one), 5)
        assert (one.publisher.status().spooled, one.publisher.status().outbox_depth) == (10, 11)
        (small_disk / "else").unlink()
        assert one.spools(21)
        assert wait_until(lambda: not is_named(one), 10)
        scene.proxy.refusing = False
        assert scene.receives(20)
    assert [seq for _, seq, _ in scene.published()] == list(range(1, 21))


def test_damage_is_reported_and_counted(scene: Scene) -> None:
    """The undamaged part of a segment arrives, and the lost part is counted where its size is known."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt()) as one:
        for first in (1, 6, 11):
            one.publish(*range(first, first + 5))
            assert one.spools(first + 4)
    (path,) = (scene.state / "outbox").iterdir()
    content = bytearray(path.read_bytes())
    content[content.rindex(b"VOB1") - 5] ^= 0xFF        # the end of the second batch
    path.write_bytes(content)
    scene.proxy.refusing = False
    with device(scene.state, scene.mqtt(), run=2) as one:
        assert scene.receives(10)
        assert wait_until(lambda: one.publisher.status().spooled == 0)
        reasons, status = one.publisher.reasons(), one.publisher.status()
    assert [seq for _, seq, _ in scene.published()] == [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]
    assert "spool_failed" in reasons
    assert str(path.parent) in reasons["spool_failed"]
    assert status.dropped_ever == {"detections": 5}


def test_a_small_spool_drops_the_oldest_and_counts_over_restarts(scene: Scene) -> None:
    """The number of missing messages is the counted one, by kind, in any run."""
    scene.proxy.refusing = True
    small = scene.mqtt(spool_mb=0.006)
    for run in (1, 2):
        with device(scene.state, small, run) as one:
            for first in range(1, 201, 8):
                one.publish(*range(first, first + 8))
                assert wait_until(partial(has_nothing_left, one))
            assert one.publisher.status().spool_bytes <= 6_000
            assert "outbox_dropping" in one.publisher.reasons()
    scene.proxy.refusing = False
    with device(scene.state, small, 3) as one:
        assert one.connects()
        assert wait_until(lambda: one.publisher.status().spooled == 0)
        status = one.publisher.status()
        assert one.publisher.flush(10)
    assert scene.receives(400 - status.dropped_ever["detections"])
    assert len(scene.published()) == 400 - status.dropped_ever["detections"]
    assert status.outbox_dropped == 0
    assert scene.published() == [(2, seq, True) for seq in range(201 - len(scene.published()), 201)]


def test_without_a_spool_only_the_checkpoint_is_on_disk(scene: Scene) -> None:
    """With 0 MB nothing but the checkpoint is kept on disk; earlier messages are dropped and counted."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt()) as one:
        one.publish(*range(5))
        assert one.spools(5)
    with device(scene.state, scene.mqtt(spool_mb=0), run=2) as one:
        one.publish(*range(20))
        assert wait_until(lambda: one.publisher.status().dropped_ever == {"detections": 15})
        assert (one.publisher.status().spooled, one.publisher.status().outbox_depth) == (0, 10)
    assert not list((scene.state / "outbox").iterdir())
    with device(scene.state, scene.mqtt(spool_mb=0), run=3) as one:
        assert one.publisher.status().dropped_ever == {"detections": 25}


def test_messages_that_cannot_be_saved_at_a_stop_are_counted(scene: Scene) -> None:
    """Without a spool, or with a failing disk, the next run reports the number lost."""
    scene.proxy.refusing = True
    with device(scene.state, scene.mqtt(spool_mb=0)) as one:
        one.publish(1, 2, 3)
    (scene.state / "outbox").write_text("in the way")
    with device(scene.state, scene.mqtt(), run=2) as one:
        assert one.publisher.status().dropped_ever == {"detections": 3}
        one.publish(1, 2)
    with device(scene.state, scene.mqtt(), run=3) as one:
        assert one.publisher.status().dropped_ever == {"detections": 5}
