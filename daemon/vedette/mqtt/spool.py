"""Saves messages in a folder while the broker is away: compressed batches, appended to segments.

Invariants: messages survive a power cut once `append` has returned; a segment is read only after it was closed for
appending, and it is removed as a whole; damage by a power cut or the disk is skipped up to the next whole batch, and
reported; a file that cannot be read hides no other, and a new segment never replaces a file; the bytes exceed the limit
by one `append` at most; each file is opened only while it is used, so that a missing folder is noticed. One thread at a
time. Every method may raise OSError.

A batch has a fixed part, a head and a body. The fixed part: magic, CRC-32 of all that follows up to the body, CRC-32 of
the body, lengths of head and body. The head is JSON: run, kinds, moment. The body is zlib of JSON: number, topic, QoS,
seq, unsynced_ns and payload of each message.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from vedette._lib.durable import make_folder, sync_folder, write_all
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAGIC = b"VOB1"
_FIXED = struct.Struct(">4sIIHI")
_HEAD_CHECKED_FROM = 8
SEGMENT_BYTES = 256 * 1024
SEGMENTS = 16
"""The limit holds at least this many segments, so that one removed segment is a small part."""
LEAST_SEGMENT_BYTES = 4096


class Moment(NamedTuple):
    """The time when a batch was written, by both clocks; `synced`: whether the wall clock was set."""

    boot: str
    monotonic_ns: int
    utc: datetime
    synced: bool

    def age_s(self, now: Moment) -> float:
        """Return the seconds until `now`. Jumps of the wall clock do not count.

        After a restart of the machine it is the least age that is certain.
        """
        if self.boot == now.boot:
            return (now.monotonic_ns - self.monotonic_ns) / 1e9
        if self.synced and now.synced:
            return max((now.utc - self.utc).total_seconds(), now.monotonic_ns / 1e9)
        return now.monotonic_ns / 1e9


class SavedMessage(NamedTuple):
    """A message with its number in the outbox of its run."""

    number: int
    message: Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that were written together. `body` is None if it is damaged; `kinds` says how many are lost."""

    run: int
    kinds: Counter[str]
    at: Moment
    body: bytes | None

    def messages(self) -> list[SavedMessage]:
        """Return the messages in the order in which they were put."""
        if self.body is None:
            return []
        return [SavedMessage(number, Message(topic, payload.encode("utf-8", "surrogateescape"), qos, False, seq,
                                             unsynced_ns))
                for number, topic, qos, seq, unsynced_ns, payload in json.loads(zlib.decompress(self.body))]


@dataclass(slots=True)
class _Segment:
    size: int
    kinds: Counter[str]
    newest: Moment | None


class Spool:
    """The messages in `folder`, which is created with the first one. Call `recover` before anything else."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max(LEAST_SEGMENT_BYTES, limit_bytes // SEGMENTS))
        self._segments: dict[int, _Segment] = {}
        self._open: int | None = None
        self._last = 0

    def __repr__(self) -> str:
        return f"<Spool {self._folder} {self.size}/{self._limit_bytes} bytes in {len(self._segments)}>"

    @property
    def size(self) -> int:
        """The bytes in all segments."""
        return sum(segment.size for segment in self._segments.values())

    @property
    def oldest(self) -> int | None:
        """The number of the oldest segment."""
        return next(iter(self._segments), None)

    def __len__(self) -> int:
        """Return the number of messages in all segments."""
        return sum(segment.kinds.total() for segment in self._segments.values())

    def recover(self, used: int = 0) -> str | None:
        """Find the segments of earlier runs; returns a message that names the damaged ones, or None.

        New segments get numbers above `used`. A segment that cannot be read counts as damaged and keeps its number.
        """
        if not self._folder.is_dir():
            self._last = used
            return None
        numbers = sorted(int(path.stem) for path in self._folder.glob("*.spool") if path.stem.isdigit())
        self._last = max([used, *numbers])      # before any file is read: no write may ever reach one of them
        damaged = []
        for number in numbers:
            self._segments[number], is_damaged = self._recovered(number)
            if is_damaged:
                damaged.append(self.path(number).name)
        return f"{self._folder}: damaged: {', '.join(damaged)}" if damaged else None

    def _recovered(self, number: int) -> tuple[_Segment, bool]:
        """Return what is known of a segment, and whether it is damaged."""
        size = 0
        try:
            size = self.path(number).stat().st_size
            batches, is_damaged = _parsed(self.path(number).read_bytes())
        except OSError:
            return _Segment(size, Counter(), None), True
        kinds = sum((batch.kinds for batch in batches), Counter())
        return _Segment(size, kinds, batches[-1].at if batches else None), is_damaged

    def append(self, messages: Iterable[Iterable[SavedMessage]], run: int, at: Moment) -> None:
        """Write batches of messages durably, all or none."""
        written = [_packed(list(batch), run, at) for batch in messages]
        content = b"".join(packed for packed, _ in written)
        number = self._last + 1 if self._open is None else self._open
        segment = self._segments.get(number, _Segment(0, Counter(), None))
        if segment.size == 0:
            make_folder(os, str(self._folder))
        self._open = None       # set again after the write: a segment that is missing must not stay the open one
        self._write(number, segment.size, content)
        self._last, self._open = number, number
        self._segments[number] = _Segment(segment.size + len(content),
                                          sum((kinds for _, kinds in written), segment.kinds), at)
        if self._segments[number].size >= self._segment_bytes:
            self._open = None

    def read(self, number: int) -> tuple[list[Batch], bool]:
        """Close a segment for appending; returns its batches and whether it is damaged."""
        if number == self._open:
            self._open = None
        return _parsed(self.path(number).read_bytes())

    def subtract(self, number: int, done: Counter[str]) -> None:
        """Subtract messages from a segment's count, since they are done."""
        self._segments[number].kinds -= done

    def kinds_of(self, number: int) -> Counter[str]:
        """Return the messages of a segment that still count, by kind."""
        return Counter(self._segments[number].kinds)

    def remove(self, number: int) -> None:
        """Remove a segment for good."""
        if number == self._open:
            self._open = None
        del self._segments[number]
        self.path(number).unlink(missing_ok=True)

    def surplus(self, now: Moment, limit_s: float) -> int | None:
        """Return the number of the oldest segment if it is too old or the bytes exceed the limit; else None."""
        number = self.oldest
        if number is None:
            return None
        newest = self._segments[number].newest
        is_old = newest is not None and newest.age_s(now) > limit_s
        return number if is_old or self.size > self._limit_bytes else None

    def _write(self, number: int, at: int, content: bytes) -> None:
        path = self.path(number)
        try:
            descriptor = os.open(path, os.O_WRONLY | (0 if at else os.O_CREAT | os.O_EXCL) | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            self._last = number     # a file that nobody knows of stays as it is: the next try takes the next number
            raise
        try:
            os.lseek(descriptor, at, os.SEEK_SET)
            write_all(os, descriptor, content)
            os.fdatasync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):      # bytes beyond `at` are never read, and the next write replaces them
                os.ftruncate(descriptor, at)
                if at == 0:
                    path.unlink()
            raise
        finally:
            os.close(descriptor)
        if at == 0:
            sync_folder(os, str(self._folder))

    def path(self, number: int) -> Path:
        """Return the path of a segment."""
        return self._folder / f"{number:010d}.spool"


class SegmentReader:
    """Loads one segment batch by batch. The broker has the first `done` batches."""

    def __init__(self, segment: int, batches: deque[Batch], done: int) -> None:
        self.segment = segment
        self.batches = batches
        self.done = done
        self._is_loaded = False

    def load(self) -> Batch:
        """Load the next batch and return it."""
        self._is_loaded = True
        return self.batches[0]

    def finish(self) -> Counter[str]:
        """Mark the loaded batch as done; returns its messages by kind, empty if none was loaded."""
        if not self._is_loaded:
            return Counter()
        self._is_loaded = False
        self.done += 1
        return self.batches.popleft().kinds

    def sent(self, unsent: Counter[str]) -> Counter[str]:
        """Return the part of the loaded batch that the broker has, by kind; `unsent` is the rest."""
        return self.batches[0].kinds - unsent if self._is_loaded else Counter()


def _packed(messages: list[SavedMessage], run: int, at: Moment) -> tuple[bytes, Counter[str]]:
    kinds = Counter(kept.message.kind for kept in messages)
    body = zlib.compress(json.dumps([
        (number, message.topic, message.qos, message.seq, message.unsynced_ns,
         message.payload.decode("utf-8", "surrogateescape")) for number, message in messages]).encode())
    head = json.dumps({"run": run, "kinds": kinds, "boot": at.boot, "ns": at.monotonic_ns,
                       "utc": at.utc.timestamp(), "synced": at.synced}).encode()
    checked = _FIXED.pack(_MAGIC, 0, zlib.crc32(body), len(head), len(body))[_HEAD_CHECKED_FROM:] + head
    return _MAGIC + zlib.crc32(checked).to_bytes(4, "big") + checked + body, kinds


def _parsed(content: bytes) -> tuple[list[Batch], bool]:
    """Return every batch whose head is whole, and whether the content holds anything else."""
    batches, at, is_damaged = [], 0, False
    while (found := content.find(_MAGIC, at)) >= 0:
        is_damaged |= found != at
        read = _batch(content, found)
        if read is None:
            at = found + 1
            continue
        batch, at = read
        is_damaged |= batch.body is None
        batches.append(batch)
    return batches, is_damaged or at != len(content)


def _batch(content: bytes, start: int) -> tuple[Batch, int] | None:
    if len(content) < start + _FIXED.size:
        return None
    _, head_sum, body_sum, head_size, body_size = _FIXED.unpack_from(content, start)
    head_end = start + _FIXED.size + head_size
    if zlib.crc32(content[start + _HEAD_CHECKED_FROM:head_end]) != head_sum:
        return None
    head: dict[str, Any] = json.loads(content[start + _FIXED.size:head_end])
    body = content[head_end:head_end + body_size]
    at = Moment(head["boot"], head["ns"], datetime.fromtimestamp(head["utc"], UTC), head["synced"])
    is_whole = zlib.crc32(body) == body_sum
    return (Batch(head["run"], Counter(head["kinds"]), at, body if is_whole else None),
            min(head_end + body_size, len(content)) if is_whole else head_end)
