"""Saves on disk the messages that the broker has not acknowledged in time, and loads them again.

Invariants: the `outbox` thread owns the spool and the checkpoint, so that neither `publish` nor the connection ever
waits for a disk; a message that has waited SAVE_AFTER_S is saved, whether the broker is away, slow or silent; a message
that is lost on disk is first counted durably; a disk that fails is reported and tried again, and messages wait in
memory; no message is written before those of earlier runs are found. The checkpoint is written at most every
CHECKPOINT_EVERY_S, before messages are dropped, and at an ordered stop.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from vedette._lib.double_buffered_file import DoubleBufferedFile
from vedette._lib.worker import Worker
from vedette.mqtt.backfill import SAVE_AFTER_S, backfilled
from vedette.mqtt.checkpoint import Checkpoint
from vedette.mqtt.spool import Batch, Moment, SavedMessage, SegmentReader, Spool
from vedette.types import Acknowledged, BrokerStatus, Message, ReasonCode, RunIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from vedette.config.models import MqttConfig
    from vedette.mqtt.outbox import Outbox, Waiting
    from vedette.ports import Clock

log = logging.getLogger(__name__)

POLL_S = 0.25
RETRY_S = 3.0
CHECKPOINT_EVERY_S = 15.0
"""240 pages an hour: half of what an hour online may write."""
DAMAGE_NAMED_FOR_S = 300.0
BATCH_BYTES = 64 * 1024
DISK_WITHIN_S = 60.0
"""An SD card that cleans up may delay a write by so long; after that it hangs."""


class SpoolWorker:
    """Moves messages between an outbox and the folder `outbox` of the state folder. A ports.ReasonSource."""

    def __init__(self, outbox: Outbox, mqtt: MqttConfig, state: Path, identity: RunIdentity, clock: Clock, *,
                 clock_synced: Callable[[], bool], on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("outbox", self._run, limit_s=DISK_WITHIN_S, on_end=on_end)
        self.outbox = outbox
        self.clock_synced = clock_synced
        self._state = state
        self._identity = identity
        self._clock = clock
        self._limit_bytes = int(mqtt.spool_mb * 1e6)
        self._limit_s = mqtt.spool_hours * 3600
        self._spool = Spool(state / "outbox", self._limit_bytes)
        self._spooled = (0, 0)
        self.rounds: list[Callable[[bool], None]] = []
        """Called on the `outbox` thread several times a second, and at an ordered stop a last time with True."""
        self._wake = threading.Event()
        self._loaded: Callable[[], None] = lambda: None
        self._refill_requested = self._is_recovered = False
        self._reading: SegmentReader | None = None
        self._failure: str | None = None
        self._damage: str | None = None
        self._damage_until_s = self._retry_s = 0.0
        self._slots = DoubleBufferedFile(state / "outbox.mark")
        self._checkpoint = self._before = Checkpoint()
        self._checkpoint_s = -CHECKPOINT_EVERY_S
        self._try(self._read_checkpoint)

    def __repr__(self) -> str:
        return f"<SpoolWorker {self._spool!r} {self._failure or 'well'}>"

    def start(self) -> None:
        """Start the `outbox` thread."""
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """Save waiting messages and the checkpoint, and end the thread. After the `mqtt` thread has ended."""
        self.worker.stopping.set()
        self._wake.set()
        return self.worker.stop(timeout_s)

    def wake(self) -> None:
        """Have the next round now. Any thread; never blocks."""
        self._wake.set()

    def when_loaded(self, loaded: Callable[[], None]) -> None:
        """Call `loaded`, on the `outbox` thread, when late messages were loaded into the outbox. Before `start`."""
        self._loaded = loaded

    def request_refill(self) -> None:
        """Request the next late messages, if there are any. Any thread; never blocks."""
        if self._spooled != (0, 0):
            self._refill_requested = True
            self._wake.set()

    def add_to(self, status: BrokerStatus) -> BrokerStatus:
        """Return a status with the spool's values added. Any thread; never blocks."""
        spooled, size = self._spooled
        return replace(status, spooled=spooled, spool_bytes=size, dropped_ever=self._dropped_ever(),
                       acknowledged_before=self._before.acknowledged)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread; never blocks."""
        failure = self._failure or (self._damage if self._now_s() < self._damage_until_s else None)
        return {"spool_failed": failure} if failure else {}

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            worker.beat()
            self._other_rounds(final=False)
            self._round()
            self._wake.wait(POLL_S)
            self._wake.clear()
        self._other_rounds(final=True)
        for act in (self._recover, lambda: self._save(0.0), self._abandon_unsaved, self._make_room,
                    self._write_checkpoint):
            self._try(act)

    def _other_rounds(self, *, final: bool) -> None:
        for each in self.rounds:
            each(final)

    def _round(self) -> None:
        if self._now_s() >= self._retry_s:
            self._try(self._recover)
            self._try(self._check_writable)
            self._try(lambda: self._save(SAVE_AFTER_S))
            self._try(self._make_room)
        if self._refill_requested and not self.outbox.late_left:
            self._refill_requested = False
            self._try(self._refill)
        next_s = self._retry_s if self._failure else max(self._retry_s, self._checkpoint_s + CHECKPOINT_EVERY_S)
        if self._now_s() >= next_s:
            self._try(self._write_checkpoint)
        self._spooled = len(self._spool), self._spool.size

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as failure:
            message = f"{failure.filename or self._state}: {failure.strerror}"
            if self._failure != message:
                log.warning("the outbox on disk failed, messages wait in memory: %s", message)
            self._failure = message
            self._retry_s = self._now_s() + RETRY_S

    def _check_writable(self) -> None:
        """Detect a read-only disk without writing. Raises: OSError."""
        if os.statvfs(self._state).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self._state))

    def _written(self) -> None:
        if self._failure is not None:
            log.info("the outbox on disk can be written again")
        self._failure = None

    def _save(self, older_than_s: float) -> None:
        waiting = self.outbox.begin_saving(older_than_s) if self._limit_bytes and self._is_recovered else ()
        if not waiting:
            return
        saved = False
        try:
            self._spool.append(_batches(waiting), self._identity.run, self._moment())
            saved = True
        finally:
            self.outbox.end_saving(saved=saved)
        self._written()

    def _abandon_unsaved(self) -> None:
        lost = self.outbox.abandon()
        if lost:
            log.warning("%d messages are lost with this run: neither the broker nor the disk has them", lost)

    def _make_room(self) -> None:
        while (number := self._spool.surplus(self._moment(), self._limit_s)) is not None:
            if self._reading is not None and number == self._reading.segment:
                self._spool.subtract(number, self._reading.sent(self.outbox.forget_late()))
                self._reading = None
            self._lose(number, self._spool.kinds_of(number))
            self._spool.remove(number)

    def _lose(self, number: int, kinds: Counter[str]) -> None:
        """Count messages of a segment durably as dropped."""
        self.outbox.drop(kinds)
        self._spool.subtract(number, kinds)
        if kinds:
            self._write_checkpoint()

    def _recover(self) -> None:
        """Find what earlier runs have saved. Before that has worked once, no message is saved."""
        if self._is_recovered:
            return
        damage = self._spool.recover(self._checkpoint.segment or 0)
        self._is_recovered = True
        if damage is not None:
            self._report_damage(damage)
        if self._checkpoint.segment is not None and self._checkpoint.segment == self._spool.oldest:
            self._open(self._checkpoint.segment, skip=self._checkpoint.batches)

    def _refill(self) -> None:
        """Load the next batch, once the broker has everything that was loaded before."""
        if self._reading is not None:
            self._finish_batch(self._reading)
        while self._reading is None and (number := self._spool.oldest) is not None:
            self._open(number)
        if self._reading is not None:
            self.outbox.load(self._restored(self._reading.load()))
            self._loaded()

    def _open(self, number: int, skip: int = 0) -> None:
        try:
            batches, is_damaged = self._spool.read(number)
        except OSError as failure:
            batches, is_damaged = [], True
            log.warning("%s: %s", failure.filename, failure.strerror)
        if is_damaged:
            self._report_damage(f"messages saved in {self._spool.path(number)} are damaged")
        whole = [batch for batch in batches if batch.body is not None]
        self._spool.subtract(number, sum((batch.kinds for batch in whole[:skip]), Counter()))
        left = sum((batch.kinds for batch in whole[skip:]), Counter())
        self._reading = SegmentReader(number, deque(whole[skip:]), skip) if left else None
        self._lose(number, self._spool.kinds_of(number) - left)
        if self._reading is None:
            self._spool.remove(number)

    def _finish_batch(self, reading: SegmentReader) -> None:
        done = reading.finish()
        self._spool.subtract(reading.segment, done)
        if not reading.batches:
            self._reading = None
            self._spool.remove(reading.segment)

    def _restored(self, batch: Batch) -> Iterator[Message]:
        is_ours = batch.run == self._identity.run
        for number, message in batch.messages():
            if not (is_ours and self.outbox.take_redundant(number)):
                yield replace(message, payload=backfilled(message.payload), seq=message.seq if is_ours else None,
                              unsynced_ns=message.unsynced_ns if batch.at.boot == self._identity.boot_id else None)

    def _read_checkpoint(self) -> None:
        content = self._slots.read()
        if content is not None:
            self._checkpoint = self._before = Checkpoint.parse(content)

    def _write_checkpoint(self) -> None:
        seq, reading = self.outbox.acknowledged_seq, self._reading
        acknowledged = Acknowledged(self._identity.run, seq) if seq else self._before.acknowledged
        read: tuple[int | None, int] = (reading.segment, reading.done) if reading else (None, 0)
        if not self._is_recovered:
            read = self._checkpoint.segment, self._checkpoint.batches
        checkpoint = Checkpoint(acknowledged, self._dropped_ever(), *read)
        if checkpoint != self._checkpoint or self._failure is not None:
            self._checkpoint_s = self._now_s()
            self._slots.write(checkpoint.encode())
            self._checkpoint = checkpoint
            self._written()

    def _dropped_ever(self) -> Counter[str]:
        return self._before.dropped + self.outbox.dropped_by_kind

    def _report_damage(self, message: str) -> None:
        log.warning("%s", message)
        self._damage, self._damage_until_s = message, self._now_s() + DAMAGE_NAMED_FOR_S

    def _moment(self) -> Moment:
        clock = self._clock
        return Moment(self._identity.boot_id, clock.monotonic_ns(), clock.utc_now(), self.clock_synced())

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _batches(waiting: Sequence[Waiting]) -> Iterator[list[SavedMessage]]:
    batch: list[SavedMessage] = []
    size = 0
    for one in waiting:
        batch.append(SavedMessage(one.number, one.message))
        size += len(one.message.payload)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
