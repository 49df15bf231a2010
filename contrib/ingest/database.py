"""The database: rows are written in one transaction, each once.

Invariants: `write` returns only when everything is committed; one program writes at a time, so each sees the rows of
the others; a row that PostgreSQL refuses is kept in `rejected`, so no row can stop the others; every other failure is
the database's, and the caller writes the same rows again.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from . import days
from .messages import Row, Table, Unreadable, read

log = logging.getLogger(__name__)

SCHEMA = Path(__file__).with_name("schema.sql")
RENEW_EVERY_S = 3600.0
RENEW_AGAIN_S = 60.0
KEPT_BYTES = 65_536
"""Of a rejected payload."""
LOCK = 8_660_176_215
"""The number of the advisory lock under which one program at a time writes."""
PATIENT: dict[str, Any] = {
    "connect_timeout": 30, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 30_000, "client_encoding": "utf8"}
SESSION = """
SET statement_timeout = '60s';
SET timezone = 'UTC';
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
"""No call waits longer than about a minute: the connection to the broker waits with it. A repeat is found by the
index, in tables of any size. What is acknowledged is on the server's disk."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came from the broker."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no row, and why."""

    message: Message
    problem: str


class Database:
    """One connection, opened when it is needed. `counts`: rows by table, `repeats` and `rejected`, since the start."""

    def __init__(self, conninfo: str, keep_days: int) -> None:
        self._conninfo = conninfo
        self._keep_days = keep_days
        self._connection: days.Connection | None = None
        self._renew_at_s = 0.0
        self.counts: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._connection is not None

    def write(self, messages: Sequence[Message]) -> None:
        """Write and commit the messages; without any, see whether the database answers. Partitions follow the days.

        Raises: psycopg.Error where the database fails. Write the same messages again then.
        """
        rows: list[tuple[Row, Message]] = []
        rejected: list[Rejected] = []
        for message in messages:
            try:
                rows.append((read(message.topic, message.payload), message))
            except Unreadable as error:
                rejected.append(Rejected(message, str(error)))
        try:
            connection = self._open()
            if time.monotonic() >= self._renew_at_s:
                self._renew(connection)
            if not messages:
                connection.execute("SELECT 1")
            self._write(connection, rows)
            for each in rejected:
                self._reject(connection, each)
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> days.Connection:
        if self._connection is None:
            connection = psycopg.connect(self._conninfo, autocommit=True, **PATIENT)
            try:
                connection.execute(SESSION)
                with _alone(connection):
                    # Only if its last part is not there: to replace a view waits for everybody who reads it.
                    [[last]] = connection.execute("SELECT to_regclass('visits')").fetchall()
                    if last is None:
                        connection.execute(SCHEMA.read_bytes())
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _renew(self, connection: days.Connection) -> None:
        """Rows can be written without it: where a day has no partition, the default one takes them."""
        self._renew_at_s = time.monotonic() + RENEW_AGAIN_S
        try:
            days.renew(connection, self._keep_days)
        except psycopg.Error as error:
            log.warning("partitions: %s; again in %.0f s", str(error).strip(), RENEW_AGAIN_S)
        else:
            self._renew_at_s = time.monotonic() + RENEW_EVERY_S

    def _write(self, connection: days.Connection, rows: Sequence[tuple[Row, Message]]) -> None:
        """Commit the rows together; where one is refused, each half on its own. Then the repeats among them."""
        first: dict[tuple[object, ...], tuple[Row, Message]] = {}
        later = [each for each in rows if first.setdefault((each[0].table, *each[0].key), each) is not each]
        self._write_keys(connection, list(first.values()))
        if later:
            self._write(connection, later)

    def _write_keys(self, connection: days.Connection, rows: Sequence[tuple[Row, Message]]) -> None:
        """Commit rows of which no two have the same key."""
        try:
            with _alone(connection):
                new = {table: _insert(connection, table, [row for row, _ in rows if row.table == table])
                       for table in days.TIMES}
        except psycopg.Error as error:
            if not _is_of_a_row(error):
                raise
            if len(rows) == 1:
                self._reject(connection, Rejected(rows[0][1], str(error)))
                return
            middle = len(rows) // 2
            self._write_keys(connection, rows[:middle])
            self._write_keys(connection, rows[middle:])
        else:
            self.counts.update(new)
            self.counts["repeats"] += len(rows) - sum(new.values())

    def _reject(self, connection: days.Connection, rejected: Rejected) -> None:
        message = rejected.message
        connection.execute(
            "INSERT INTO rejected (topic, sha256, payload, problem) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (topic, sha256) DO UPDATE SET times = rejected.times + 1, last_at = now()",
            [_plain(message.topic), hashlib.sha256(message.payload).digest(), message.payload[:KEPT_BYTES],
             _plain(rejected.problem)])
        self.counts["rejected"] += 1


@contextmanager
def _alone(connection: days.Connection) -> Iterator[None]:
    """A transaction in which no other program writes."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        yield


def _insert(connection: days.Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert those that are not there; returns how many."""
    if not rows:
        return 0
    columns = ([row.device for row in rows], [row.run for row in rows], [row.seq for row in rows],
               [row.at for row in rows], [row.message for row in rows])
    done = connection.execute(
        f"INSERT INTO {table} (device, run, seq, {days.TIMES[table]}, message) "        # noqa: S608 - our own names
        "SELECT device, run, seq, coalesce(at, '-infinity'), message::jsonb FROM unnest("
        "%s::text[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::text[]) AS new (device, run, seq, at, message) "
        f"WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE old.device = new.device AND old.run = new.run "
        "AND old.seq = new.seq AND content(old.message) = content(new.message::jsonb))", columns)
    return int(done.rowcount)


def _is_of_a_row(error: psycopg.Error) -> bool:
    """Whether a row is at fault: its data, a constraint, or a size that PostgreSQL has no room for (class 54)."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError) or (error.sqlstate or "").startswith("54")


def _plain(text: str) -> str:
    """Return it in ASCII, and short: a text that every database takes, also in an index."""
    return text.replace("\0", "").encode("ascii", "backslashreplace").decode()[:500]
