"""The partitions of the days: made ahead, and dropped by their age.

Invariants: a day begins at midnight UTC; the server's clock says which day it is, never a device's; a day's rows that
came before its partition are moved into it. No step waits longer than `lock_wait` for a lock: whoever writes would wait
behind it. What fails is tried again later, and a week is made ahead.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from .messages import Table

AHEAD_DAYS = 7
LOCK_WAIT = "5s"
TIMES: dict[Table, str] = {"results": "captured_at", "events": "began"}
"""Table -> the column of its days."""

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def renew(connection: Connection, keep_days: int, lock_wait: str = LOCK_WAIT) -> None:
    """Make the partitions from yesterday on, and delete what is older than `keep_days`, each step on its own.

    Raises: psycopg.Error, also where another program has just made the same partition.
    """
    [[today]] = connection.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchall()
    for table in TIMES:
        there = _days(connection, table)
        for day in (today + timedelta(days) for days in range(-1, AHEAD_DAYS + 1)):
            if day not in there:
                make(connection, table, day, lock_wait)
        for day in sorted(there):
            if day < today - timedelta(keep_days):
                with connection.transaction():
                    _bound_waits(connection, lock_wait)
                    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_partition(table, day)))
        connection.execute(sql.SQL("DELETE FROM {} WHERE received_at < now() - make_interval(days => %s)").format(
            sql.Identifier(f"{table}_default")), [keep_days])
    connection.execute("DELETE FROM rejected WHERE last_at < now() - make_interval(days => %s)", [keep_days])


def make(connection: Connection, table: Table, day: date, lock_wait: str = LOCK_WAIT) -> None:
    """Make one partition, with the rows of its day that are in the default one. Raises: psycopg.Error."""
    names = {"table": sql.Identifier(table), "day": _partition(table, day), "at": sql.Identifier(TIMES[table]),
             "others": sql.Identifier(f"{table}_default"),
             "first": sql.Literal(_midnight(day)), "end": sql.Literal(_midnight(day + timedelta(1)))}
    with connection.transaction():
        _bound_waits(connection, lock_wait)
        for step in ("CREATE TABLE {day} (LIKE {table} INCLUDING ALL)",
                     "LOCK TABLE {others} IN ACCESS EXCLUSIVE MODE",
                     ("WITH moved AS (DELETE FROM {others} WHERE {at} >= {first} AND {at} < {end} RETURNING *) "
                      "INSERT INTO {day} SELECT * FROM moved"),
                     "ALTER TABLE {table} ATTACH PARTITION {day} FOR VALUES FROM ({first}) TO ({end})"):
            connection.execute(sql.SQL(step).format(**names))


def _bound_waits(connection: Connection, lock_wait: str) -> None:
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(lock_wait)))


def _days(connection: Connection, table: Table) -> set[date]:
    """Return the days that have a partition."""
    found = connection.execute("SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
                               "WHERE inhparent = %s::regclass", [table]).fetchall()
    names = (re.fullmatch(rf"{table}_(\d{{8}})", name) for name, in found)
    return {datetime.strptime(name[1], "%Y%m%d").date() for name in names if name}     # noqa: DTZ007 - only a date


def _partition(table: Table, day: date) -> sql.Identifier:
    return sql.Identifier(f"{table}_{day:%Y%m%d}")


def _midnight(day: date) -> str:
    return f"{datetime.combine(day, time()).isoformat()}+00"
