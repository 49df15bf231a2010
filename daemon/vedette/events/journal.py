"""Keeps starts and ends of events on disk until the broker has them, and ends those of a run that was cut off.

Invariants:
- A start or an end is durable before it is published, unless the disk fails: then it is published all the same, the
  failure is reported, and the whole file is written anew until that works.
- A message leaves only when the broker has accepted or refused it, or when there are too many, which is counted.
- An event of an earlier run without an end gets one, once, with the `run` and `seq` of this run.
- A start costs one write, an end one, and all events that go on together one a minute. What the broker has is written
  with the next of these. The file is replaced as a whole when it has grown, at the earliest to twice its size.
- `put` never blocks. All else is done on the `outbox` thread.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from vedette._lib.durable import Files, replace_file, write_all
from vedette.events.journal_lines import Record, done_line, parse
from vedette.messages import payloads, topics
from vedette.mqtt.backfill import SAVE_AFTER_S, backfilled
from vedette.mqtt.spool_worker import DAMAGE_NAMED_FOR_S, RETRY_S
from vedette.types import Message, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.events.journal_lines import Key
    from vedette.events.pictures import BestPictures
    from vedette.events.reporter import Draft
    from vedette.messages.event_shapes import BestPayload
    from vedette.mqtt.spool_worker import SpoolWorker
    from vedette.ports import Clock, Publisher
    from vedette.types import RunIdentity

log = logging.getLogger(__name__)

FILE = "events"
IN_FLIGHT_MAX = 20
"""Messages that are handed to the outbox and not finished."""
WAITING_MAX = 3000
"""Starts and ends that wait for the broker. Beyond it, the oldest is dropped and counted."""
GROWN_BYTES = 64 * 1024
"""A longer file is written anew, once it has twice the bytes that were written at the last time."""


class EventJournal:
    """The events of a device on their way to the broker. A ports.ReasonSource."""

    def __init__(self, spool: SpoolWorker, publisher: Publisher, state: Path, identity: RunIdentity, clock: Clock, *,
                 pictures: BestPictures | None = None, memory_only: bool = False, files: Files = os) -> None:
        self._spool = spool
        self._publisher = publisher
        self._path = state / FILE
        self._identity = identity
        self._clock = clock
        self._pictures = pictures
        self._keeps = not memory_only                           # on disk
        self._files = files
        self._drafts: deque[Draft] = deque()
        self._finished: deque[Key] = deque()
        self._idle = threading.Event()
        self._waiting: dict[Key, tuple[Record, float]] = {}     # with the time at which it was taken
        self._handed_over: set[Key] = set()
        self._open: dict[str, Record] = {}
        self._best: dict[str, BestPayload] = {}                 # of each event: its picture that was published
        self._done: list[Key] = []                              # finished, and the disk does not know
        self._seq = 0
        self._size: int | None = None                           # None: the file is to be written anew
        self._grown = GROWN_BYTES                               # and beyond this size too
        self._is_recovered = False
        self._failure: str | None = None
        self._damage: str | None = None
        self._retry_s = self._damage_until_s = 0.0
        self.listeners: list[Callable[[str, bytes], None]] = []
        """Called with the id of an event and each message about it, on the `outbox` thread, broker or not."""
        spool.rounds.append(self.round)

    def __repr__(self) -> str:
        return f"<EventJournal {len(self._waiting)} wait, {len(self._open)} go on, {self._failure or 'well'}>"

    def put(self, draft: Draft) -> None:
        """Take a message. Any thread; never blocks."""
        self._drafts.append(draft)
        self._idle.clear()
        self._spool.wake()

    def settle(self, timeout_s: float) -> bool:
        """Wait until every message that was put is on its way, or waits for a broker that is away. Any other thread.

        Returns whether that is so.
        """
        return self._idle.wait(timeout_s)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread; never blocks."""
        failure = self._failure or (self._damage if self._now_s() < self._damage_until_s else None)
        return {"spool_failed": failure} if failure else {}

    def round(self, final: bool) -> None:
        """Write what came in, and hand over what may be sent. On the `outbox` thread, several times a second."""
        while self._finished:
            key = self._finished.popleft()
            self._handed_over.discard(key)
            if self._waiting.pop(key, None):
                self._done.append(key)
        may_write = final or self._now_s() >= self._retry_s
        if may_write and not self._is_recovered:
            self._recover()
        lines, updates = self._taken()
        self._limit()
        must_write = lines or self._failure is not None or (final and self._done)
        if must_write and may_write and self._keeps and self._is_recovered:
            self._write(b"".join(lines))
        connected = self._publisher.status().connected
        if connected:
            self._hand_over(updates)
        if self._size is None:
            self._done = []     # a file that is written anew has none of them
        if self._pictures is not None and not final:
            self._pictures.tidy()
        all_under_way = len(self._handed_over) == len(self._waiting) or not connected
        if all_under_way and not self._drafts:
            self._idle.set()
        if final and self._size is None:
            self._abandon()

    def _taken(self) -> tuple[list[bytes], list[Message]]:
        """Take the drafts; returns the lines to write, and the messages that are only published."""
        lines, updates = [], []
        while self._drafts:
            draft = self._drafts.popleft()
            payload: dict[str, Any] = dict(draft.payload)
            payload["best"] = self._publish_picture(draft)
            if draft.publish:
                payload["seq"] = self._next_seq()
            record = Record.of(payload, payloads.timestamp(draft.seen_at), draft.unsynced_ns, self._identity.boot_id)
            for listener in self.listeners if draft.publish else ():
                listener(record.event, record.payload)
            if draft.publish and record.kind == "update":
                updates.append(Message(topics.EVENTS, record.payload, unsynced_ns=record.unsynced_ns))
                continue
            goes_on = record.kind != "end"
            lines.append(record.line(send=draft.publish, goes_on=goes_on))
            self._take(record, send=draft.publish, goes_on=goes_on)
        return lines, updates

    def _publish_picture(self, draft: Draft) -> BestPayload | None:
        """Publish the picture, if there is a new one; returns what is known of the newest of this event."""
        event, picture, best = draft.payload["id"], draft.picture, self._best.pop(draft.payload["id"], None)
        if picture and self._pictures is not None:
            captured_at = payloads.timestamp(picture.captured_at)
            if best is None or best["captured_at"] != captured_at:
                size = self._pictures.publish(draft.payload["label"], picture)
                best = best if size is None else {"captured_at": captured_at, "bytes": size}
        if best is not None and draft.payload["type"] != "end":
            self._best[event] = best
        return best

    def _take(self, record: Record, *, send: bool, goes_on: bool | None) -> None:
        if goes_on:
            self._open[record.event] = record
        elif goes_on is False:
            self._open.pop(record.event, None)
        if send:
            self._waiting[record.key] = record, self._now_s()

    def _hand_over(self, updates: list[Message]) -> None:
        """Give the outbox what it may have. Updates come only behind all else: later ones and the end say more."""
        for key, (record, since_s) in self._waiting.items():
            if len(self._handed_over) >= IN_FLIGHT_MAX:
                return
            if key in self._handed_over:
                continue
            self._handed_over.add(key)
            is_late = key[0] != self._identity.run or self._now_s() - since_s >= SAVE_AFTER_S
            payload = backfilled(record.payload) if is_late else record.payload
            self._publisher.publish(Message(topics.EVENTS, payload, unsynced_ns=record.unsynced_ns,
                                            on_done=partial(self._on_done, key)))
        for update in updates:
            self._publisher.publish(update)

    def _on_done(self, key: Key) -> None:
        self._finished.append(key)
        if len(self._waiting) > len(self._handed_over):
            self._spool.wake()

    def _limit(self) -> None:
        surplus = len(self._waiting) - WAITING_MAX
        if surplus > 0:
            oldest = [key for key in self._waiting if key not in self._handed_over][:surplus]
            for key in oldest:
                del self._waiting[key]
            self._done += oldest
            self._spool.outbox.drop({topics.EVENTS: len(oldest)})

    def _abandon(self) -> None:
        """Count what neither the broker nor the disk has."""
        if self._waiting:
            self._spool.outbox.drop({topics.EVENTS: len(self._waiting)})
            log.warning("%d messages of events are lost with this run", len(self._waiting))

    def _recover(self) -> None:
        """Read what earlier runs have left, end what they had not ended, and write the file anew."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as failure:
            self._note_failure(failure)
            return
        self._is_recovered = True
        now, self._waiting = self._waiting, {}
        going_on, self._open = self._open, {}
        entries, damaged = parse(content, self._identity.boot_id)
        for entry in entries:
            for key in entry.done:
                self._waiting.pop(key, None)
            if entry.record is not None:
                self._take(entry.record, send=entry.send, goes_on=entry.goes_on)
        if damaged:
            self._damage = f"{self._path}: {damaged} lines are damaged"
            self._damage_until_s = self._now_s() + DAMAGE_NAMED_FOR_S
            log.warning("%s", self._damage)
        for cut_off in self._open.values():
            payload = {**json.loads(cut_off.payload), "type": "end", "ended": cut_off.seen_at, "interrupted": True,
                       "device": self._identity.device, "run": self._identity.run, "seq": self._next_seq()}
            record = Record.of(payload, cut_off.seen_at, cut_off.unsynced_ns, cut_off.boot)
            self._waiting[record.key] = record, self._now_s()
        self._open = going_on
        self._waiting |= now
        self._limit()
        if content and self._keeps:
            self._write(b"")
        elif content:
            self._remove()

    def _write(self, lines: bytes) -> None:
        """Add lines durably, or write the file anew. A failure is reported, and then it is written anew later."""
        try:
            if self._size is None or self._size + len(lines) > self._grown:
                messages = (record.line(send=True, goes_on=None) for record, _ in self._waiting.values())
                going_on = (record.line(send=False, goes_on=True) for record in self._open.values())
                content = b"".join((*messages, *going_on))
                replace_file(self._path, content, files=self._files)
                self._size, self._grown = len(content), max(GROWN_BYTES, 2 * len(content))
            else:
                if self._done:
                    lines = done_line(self._done) + lines
                self._append(lines)
                self._size += len(lines)
        except OSError as failure:
            self._size = None
            self._note_failure(failure)
            return
        self._done = []
        if self._failure is not None:
            log.info("events can be kept on disk again")
        self._failure = None

    def _remove(self) -> None:
        """Remove what a run with a spool has left: from now on it is in memory."""
        try:
            self._files.unlink(str(self._path))
        except OSError as failure:
            self._note_failure(failure)

    def _append(self, lines: bytes) -> None:
        descriptor = self._files.open(str(self._path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(self._files, descriptor, lines)
            self._files.fsync(descriptor)
        finally:
            self._files.close(descriptor)

    def _note_failure(self, failure: OSError) -> None:
        message = f"{failure.filename or self._path}: {failure.strerror}"
        if self._failure != message:
            log.warning("events cannot be kept on disk: %s", message)
        self._failure, self._retry_s = message, self._now_s() + RETRY_S

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
