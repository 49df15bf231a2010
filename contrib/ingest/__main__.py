"""The command: python -m ingest --host BROKER --database CONNINFO.

Invariants: what is acknowledged is committed; while the database is away, nothing is acknowledged and the broker keeps
the rest; one thread does everything. SIGTERM writes what was received, then disconnects.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from pathlib import Path
from types import FrameType

import psycopg

from . import metrics
from .consumer import WINDOW, Broker, Consumer, retry_s
from .database import Database
from .messages import TOPICS

log = logging.getLogger("ingest")

POLL_S = 0.1
BATCH = WINDOW // 2
"""Messages that are written at once, while the broker sends the other half."""
GATHER_S, GATHER_FEW_S = 0.5, 0.02
"""How long a message waits for more. With MQTT 3.1.1, a broker sends few before it waits for acknowledgements."""
REPORT_EVERY_S = 15.0


class Ingest:
    """Carries messages from the consumer to the database."""

    def __init__(self, consumer: Consumer, database: Database, metrics_file: Path | None) -> None:
        self._consumer = consumer
        self._gather_s = GATHER_FEW_S if consumer.is_old else GATHER_S
        self._database = database
        self._metrics = metrics_file
        self._stopping = False
        self._first_s: float | None = None
        self._tries = 0
        self._write_at_s = self._ask_at_s = 0.0
        self._report_at_s = 0.0
        self._committed_at = 0.0
        self._reported: dict[str, int] = {}

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask `run` to end. A signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Run until `stop`."""
        while not self._stopping:
            self._consumer.poll(min(POLL_S, self._gather_s))
            if self._is_due():
                self._try_to_write()
            if time.monotonic() >= self._report_at_s:
                self._report()
        self._try_to_write()
        self._report()
        self._consumer.close()
        self._database.close()

    def _is_due(self) -> bool:
        """Whether there is a batch, a message has waited, or the database was not asked for long."""
        now_s = time.monotonic()
        received = len(self._consumer.received)
        self._first_s = None if not received else self._first_s or now_s
        waited = self._first_s is not None and now_s - self._first_s >= self._gather_s
        return now_s >= self._write_at_s and (received >= BATCH or waited or now_s >= self._ask_at_s)

    def _try_to_write(self) -> None:
        deliveries = self._consumer.received
        try:
            self._database.write([each.message for each in deliveries])
        except psycopg.Error as error:
            self._tries += 1
            wait_s = retry_s(self._tries)
            self._write_at_s = time.monotonic() + wait_s
            log.warning("database: %s; again in %.0f s", str(error).strip(), wait_s)
            return
        if self._tries:
            log.info("database: it answers again")
        self._tries = 0
        self._ask_at_s = time.monotonic() + REPORT_EVERY_S
        if deliveries:
            self._committed_at = time.time()
        self._consumer.received = []
        self._first_s = None
        self._consumer.acknowledge(deliveries)

    def _report(self) -> None:
        self._report_at_s = time.monotonic() + REPORT_EVERY_S
        counts = {name: self._database.counts[name] for name in metrics.COUNTERS}
        if counts != self._reported:
            log.info("written: %s", ", ".join(f"{name} {count}" for name, count in counts.items()))
            self._reported = counts
        if self._metrics is not None:
            values = {**counts, "broker_connected": int(self._consumer.connected),
                      "database_connected": int(self._database.connected),
                      "committed_timestamp_seconds": self._committed_at, "report_timestamp_seconds": time.time()}
            new = self._metrics.with_name(f"{self._metrics.name}.new")
            try:
                new.write_text(metrics.text(self._consumer.client_id, values))
                new.replace(self._metrics)
            except OSError as error:
                log.warning("%s: %s", self._metrics, error.strerror)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="ingest", description="Write the results and events of a fleet into PostgreSQL, each exactly once.",
        epilog="The broker's password is in the variable MQTT_PASSWORD. PostgreSQL's own variables work too: PGHOST, "
               "PGUSER, PGPASSFILE and so on.")
    made.add_argument("--host", required=True, help="the broker")
    made.add_argument("--port", type=int, help="default: 1883, or 8883 with TLS")
    made.add_argument("--tls", action="store_true", help="connect with TLS")
    made.add_argument("--ca-file", metavar="FILE", help="certificates that are trusted; implies --tls")
    made.add_argument("--username", metavar="NAME", help="of the broker")
    made.add_argument("--client-id", default="vedette-ingest", metavar="ID",
                      help="the name of the session; each program needs one of its own (default: %(default)s)")
    made.add_argument("--protocol", choices=("5", "3.1.1"), default="5", help="of MQTT (default: 5)")
    made.add_argument("--share", metavar="GROUP", help="divide the messages among the programs of this group")
    made.add_argument("--database", default="", metavar="CONNINFO", help="such as 'host=db.example dbname=vedette'")
    made.add_argument("--keep-days", type=int, default=30, metavar="N", help="drop what is older (default: 30)")
    made.add_argument("--metrics", type=Path, metavar="FILE", help="write metrics there, for node_exporter")
    return made


def main(args: list[str] | None = None) -> int:
    """Run the command."""
    given = parser().parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    tls = given.tls or given.ca_file is not None
    broker = Broker(given.host, given.port or (8883 if tls else 1883), given.username, os.environ.get("MQTT_PASSWORD"),
                    (given.ca_file or "") if tls else None, is_old=given.protocol == "3.1.1")
    prefix = f"$share/{given.share}/" if given.share else ""
    ingest = Ingest(Consumer(broker, given.client_id, [f"{prefix}vedette/+/{topic}" for topic in TOPICS]),
                    Database(given.database, given.keep_days), given.metrics)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ingest.stop)
    ingest.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
