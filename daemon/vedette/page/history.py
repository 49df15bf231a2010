"""What the page keeps of the past, in one SQLite file: events with their picture, minutes of health, blind times.

Invariants:
- The file has at most `mb` megabytes, and nothing in it is older than `days`, or as far in the future, where a wrong
  clock has put it. The oldest goes first.
- A file that is damaged is set aside once, and a new one is begun. A disk that fails costs what would be written, with
  a line in the log, and nothing else. If nothing can be read either, the history goes on in memory.
- Any thread may call; one connection, under one lock. No query reads more than a bounded number of rows.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

IN_MEMORY = "the history is kept in memory only"
EVENTS_PER_QUERY, ROWS_PER_QUERY = 200, 20_000
PAGE_BYTES = 4096
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    device TEXT, id TEXT, began TEXT, label TEXT, run INTEGER, seq INTEGER, payload TEXT, scores TEXT, picture BLOB,
    PRIMARY KEY (device, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_time ON events (device, began);
CREATE TABLE IF NOT EXISTS minutes (
    device TEXT, at INTEGER, row TEXT, PRIMARY KEY (device, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blind (
    device TEXT, began TEXT, ended TEXT, why TEXT, PRIMARY KEY (device, began)) WITHOUT ROWID;
"""
_PUT_EVENT = """
INSERT INTO events VALUES (:device, :id, :began, :label, :run, :seq, :payload, :scores, :picture)
ON CONFLICT DO UPDATE SET began = excluded.began, label = excluded.label, run = excluded.run, seq = excluded.seq,
    payload = excluded.payload, scores = coalesce(excluded.scores, scores),
    picture = coalesce(excluded.picture, picture)
WHERE (excluded.run, excluded.seq) >= (events.run, events.seq)"""
_MOMENT = "strftime('%Y-%m-%dT%H:%M:%fZ', :now, {})"
_SECOND = "CAST(strftime('%s', :now, {}) AS INTEGER)"
_TOO_FAR = tuple(
    f"DELETE FROM {table} WHERE {last} < {at.format(':ago')} OR {first} > {at.format(':ahead')}"  # noqa: S608 - ours
    for table, first, last, at in (("events", "began", "began", _MOMENT),
                                   ("blind", "began", "coalesce(ended, began)", _MOMENT),
                                   ("minutes", "at", "at", _SECOND)))


class Filter(NamedTuple):
    """Which events are wanted: the newest `limit` of a device before a moment, of a label and a zone if given."""

    device: str
    label: str = ""
    zone: str = ""
    before: tuple[str, str] = ("~", "")
    """`began` and `id` of the event that was the last so far."""
    limit: int = 50


class History:
    """Any thread. `path` None: in memory only. `close` is safe to call twice."""

    def __init__(self, path: Path | None, *, days: float, mb: float) -> None:
        self._path = path       # None once the history is kept in memory
        self._days = days
        self._pages = max(64, int(mb * 1e6 / PAGE_BYTES))
        self._lock = threading.Lock()
        self._failure = ""
        self._database = self._open()

    def __repr__(self) -> str:
        return f"<History {self._path or 'in memory'} {self._failure}>"

    def put_event(self, payload: Mapping[str, Any], *, scores: Sequence[tuple[float, float]] | None,
                  picture: bytes | None) -> None:
        """Keep the newest message of an event. None: what is there stays. Raises: KeyError if it is no event."""
        row = {name: payload[name] for name in ("device", "id", "began", "label", "run", "seq")}
        row |= {"payload": json.dumps(payload), "scores": None if scores is None else json.dumps(scores),
                "picture": picture}
        self._write(_PUT_EVENT, row)

    def put_minute(self, device: str, at_s: int, row: Mapping[str, Any]) -> None:
        """Keep what health said in this minute."""
        self._write("INSERT OR REPLACE INTO minutes VALUES (?, ?, ?)", (device, at_s, json.dumps(row)))

    def begin_blind(self, device: str, at: str, why: str) -> None:
        """Note that the device does not look from this moment on."""
        self._write("INSERT OR REPLACE INTO blind VALUES (?, ?, NULL, ?)", (device, at, why))

    def end_blind(self, device: str, at: str) -> None:
        """Note that it looks again."""
        self._write("UPDATE blind SET ended = ? WHERE device = ? AND ended IS NULL", (at, device))

    def prune(self, now: str) -> None:
        """Delete what is too old at this moment (ISO 8601 UTC), and what a wrong clock has put far into the future."""
        self._find_again()
        limits = {"now": now, "ago": f"-{self._days} days", "ahead": f"+{self._days} days"}
        for statement in _TOO_FAR:
            self._write(statement, limits)
        self._write("PRAGMA incremental_vacuum")

    def events(self, wanted: Filter) -> list[dict[str, Any]]:
        """Return the payloads, the newest first, each with `scores` and `picture` (whether there is one)."""
        rows = self._read(
            "SELECT payload, scores, picture IS NOT NULL FROM events WHERE device = ? AND (began, id) < (?, ?) "
            "AND (? = '' OR label = ?) AND (? = '' OR EXISTS "
            "(SELECT 1 FROM json_each(payload, '$.entered') WHERE value = ?)) ORDER BY began DESC, id DESC LIMIT ?",
            wanted.device, *wanted.before, wanted.label, wanted.label, wanted.zone, wanted.zone,
            max(0, min(wanted.limit, EVENTS_PER_QUERY)))
        return [{**json.loads(payload), "scores": json.loads(scores or "[]"), "picture": bool(has_picture)}
                for payload, scores, has_picture in rows]

    def labels(self, device: str) -> list[str]:
        """Return the labels of the events that are kept."""
        return [label for (label,) in self._read("SELECT DISTINCT label FROM events WHERE device = ? ORDER BY 1 "
                                                 "LIMIT 500", device)]

    def picture(self, device: str, event: str) -> bytes | None:
        """Return the picture of an event as JPEG."""
        rows = self._read("SELECT picture FROM events WHERE device = ? AND id = ?", device, event)
        return rows[0][0] if rows else None

    def blind(self, device: str, since: str) -> list[dict[str, str | None]]:
        """Return the times in which the device did not look, the oldest first: those that ended after this moment."""
        return [{"from": began, "to": ended, "why": why} for began, ended, why in self._read(
            "SELECT began, ended, why FROM blind WHERE device = ? AND (ended IS NULL OR ended > ?) ORDER BY began "
            "LIMIT ?", device, since, ROWS_PER_QUERY)]

    def minutes(self, device: str, since_s: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the minutes after this moment (seconds since 1970), the oldest first."""
        return [(at, json.loads(row)) for at, row in self._read(
            "SELECT at, row FROM minutes WHERE device = ? AND at > ? ORDER BY at LIMIT ?", device, since_s,
            ROWS_PER_QUERY)]

    def oldest_minute(self, device: str) -> int | None:
        """Return the oldest minute that is kept (seconds since 1970): nothing before it was recorded."""
        oldest: int | None = self._read("SELECT min(at) FROM minutes WHERE device = ?", device)[0][0]
        return oldest

    def newest_minute(self, device: str) -> int | None:
        """Return the newest minute that is kept (seconds since 1970)."""
        newest: int | None = self._read("SELECT max(at) FROM minutes WHERE device = ?", device)[0][0]
        return newest

    def close(self) -> None:
        """Close the file."""
        with self._lock, suppress(sqlite3.Error):
            self._database.close()

    def _find_again(self) -> None:
        """Begin a new file if somebody has removed it."""
        with self._lock:
            if self._path is not None and not self._path.exists():
                self._say(f"{self._path}: removed; a new history is begun")
                self._database.close()
                self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        """Return the database, in memory if the file cannot be used."""
        for _ in range(2):
            try:
                return self._connect(str(self._path or ":memory:"))
            except sqlite3.OperationalError as error:
                self._say(f"{self._path}: {error}; {IN_MEMORY}")
                break
            except sqlite3.DatabaseError as error:
                self._say(f"{self._path}: {error}; it is set aside, and a new history is begun")
                self._set_aside()
        self._path = None
        return self._connect(":memory:")

    def _set_aside(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.replace(self._path.with_suffix(".damaged"))

    def _connect(self, name: str) -> sqlite3.Connection:
        database = sqlite3.connect(name, timeout=0.5, check_same_thread=False, isolation_level=None)
        try:
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA journal_size_limit = 1000000")
            database.execute(f"PRAGMA max_page_count = {self._pages}")
            database.executescript(_TABLES)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._on_failure(error)
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._say(f"{self._path}: {error}; {IN_MEMORY}")
                self._path = None
                self._database.close()
                self._database = self._connect(":memory:")
                return self._database.execute(query, values).fetchall()

    def _write(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> None:
        with self._lock:
            for _ in range(2):
                try:
                    self._database.execute(statement, values)
                except sqlite3.Error as error:
                    self._on_failure(error)
                else:
                    self._failure = ""
                    return

    def _on_failure(self, error: sqlite3.Error) -> None:
        """Make room in a full file, or begin a new one in place of a damaged one."""
        is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL     # `mb` is reached, or the disk is full
        self._say(f"{self._path or 'history'}: {error}{'; the oldest tenth goes' if is_full else ''}")
        if is_full:
            with suppress(sqlite3.Error):
                self._delete_oldest()
        elif error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._database.close()
            self._set_aside()
            self._database = self._open()

    def _delete_oldest(self) -> None:
        """Delete a tenth of the events, and of the minutes."""
        for table, key in (("events", "began"), ("minutes", "at"), ("blind", "began")):
            self._database.execute(f"DELETE FROM {table} WHERE {key} <= (SELECT {key} FROM {table} ORDER BY {key} "  # noqa: S608 - names of ours
                                   f"LIMIT 1 OFFSET (SELECT count(*) / 10 FROM {table}))")
        self._database.execute("PRAGMA incremental_vacuum")

    def _say(self, message: str) -> None:
        if message != self._failure:
            log.warning("%s", message)
        self._failure = message
