"""The lines of the journal of events: each is a CRC-32 and a JSON object.

A line is a message, or what is known of an event that goes on, or both, or which messages the broker has.

Invariants: what is written is read back the same; a line that is damaged, or that another version has written in its
own way, costs only itself and is counted.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vedette.messages import payloads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vedette.messages.event_shapes import EventType

Key = tuple[int, int]
"""Run and seq of a message."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message. `key` is its run and seq, `seen_at` ISO 8601, and `boot` the one that `unsynced_ns` counts in."""

    key: Key
    kind: EventType
    event: str
    payload: bytes
    seen_at: str
    unsynced_ns: int | None
    boot: str

    @classmethod
    def of(cls, payload: dict[str, Any], seen_at: str, unsynced_ns: int | None, boot: str) -> Record:
        """Return the record of a payload. Raises: KeyError for one that is no event's."""
        return cls((payload["run"], payload["seq"]), payload["type"], payload["id"], payloads.encode(payload), seen_at,
                   unsynced_ns, boot)

    def line(self, *, send: bool, goes_on: bool | None) -> bytes:
        """Return the line of the file. `send`: it is to be sent; `goes_on`: so does the event (None: not said here)."""
        head = payloads.encode({"send": send, "goes_on": goes_on, "seen": self.seen_at, "ns": self.unsynced_ns,
                                "boot": self.boot})
        return _line(head.removesuffix(b"}") + b',"payload":' + self.payload + b"}")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line says: `done`, which messages the broker has, or a record with what `Record.line` was given."""

    done: tuple[Key, ...] = ()
    record: Record | None = None
    send: bool = False
    goes_on: bool | None = None


def done_line(keys: Iterable[Key]) -> bytes:
    """Return the line that says which messages the broker has."""
    return _line(payloads.encode({"done": list(keys)}))


def parse(content: bytes, boot: str) -> tuple[list[Entry], int]:
    """Return what the lines say, and how many could not be used. `boot`: the one of now.

    A last line that is not whole is what a power cut leaves, and does not count.
    """
    entries, damaged = [], 0
    for line in content.split(b"\n")[:-1]:
        try:
            entries.append(_entry(line, boot))
        except (ValueError, KeyError, TypeError):
            damaged += 1
    return entries, damaged


def _entry(line: bytes, boot: str) -> Entry:
    checksum, _, encoded = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(encoded):
        raise ValueError("the line is damaged")
    content: dict[str, Any] = json.loads(encoded)
    if "done" in content:
        return Entry(done=tuple((int(run), int(seq)) for run, seq in content["done"]))
    unsynced_ns = content["ns"] if content["boot"] == boot else None
    record = Record.of(content["payload"], content["seen"], unsynced_ns, content["boot"])
    return Entry((), record, content["send"], content["goes_on"])


def _line(encoded: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(encoded), encoded)
