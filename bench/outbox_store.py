"""Bytes that the kernel writes in an outage of an hour at 5 results a second: segments compared with SQLite.

    python bench/outbox_store.py --folder .campaign

All stores write the same compressed batches of 3.2 s, and make each durable. The figure is `write_bytes` of
/proc/self/io, so the folder must be on a disk (tmpfs writes nothing).
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.campaign.outbox_cuts import kernel_written, results_of_an_hour
from vedette.mqtt.spool import Moment, SavedMessage, Spool

BATCH = 16


def batches() -> Iterator[list[SavedMessage]]:
    """Yield an hour's results as they are saved."""
    results = list(results_of_an_hour())
    yield from (results[start:start + BATCH] for start in range(0, len(results), BATCH))


def segments(folder: Path) -> None:
    """Store the batches as the daemon does."""
    spool = Spool(folder / "outbox", 64_000_000)
    spool.recover()
    for batch in batches():
        spool.append([batch], 1, Moment("boot", 0, datetime.now(UTC), True))


def sqlite(folder: Path, journal: str) -> None:
    """Store the batches in a table, each in a transaction."""
    database = sqlite3.connect(folder / "outbox.db")
    database.execute(f"PRAGMA journal_mode = {journal}")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE batches (number INTEGER PRIMARY KEY, body BLOB)")
    for batch in batches():
        body = zlib.compress(json.dumps([(kept.number, kept.message.payload.decode()) for kept in batch]).encode())
        with database:
            database.execute("INSERT INTO batches (body) VALUES (?)", (body,))
    database.close()


def main() -> int:
    """Measure each store. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".campaign"), help="a folder on the disk to measure")
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    stores: dict[str, Callable[[Path], None]] = {
        "segments": segments, "sqlite, WAL": partial(sqlite, journal="WAL"),
        "sqlite, rollback journal": partial(sqlite, journal="DELETE")}
    for name, store in stores.items():
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            before = kernel_written()
            store(Path(folder))
            written = kernel_written() - before
            print(f"{name:26} {written / 1e6:6.1f} MB, {written / 18_000:6.0f} bytes a message")
    return 0


if __name__ == "__main__":
    sys.exit(main())
