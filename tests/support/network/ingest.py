"""The program of contrib/ingest as an operator runs it, and messages of devices for it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.network.exposition import series
from tests.support.network.postgres import Postgres
from tests.support.network.prometheus import CONTRIB
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.fair_clock import PATIENCE_S

PASSWORD = "guest"     # noqa: S105 - of the user that RabbitMQ makes; without --username it is not used


def message(kind: str, seq: int, at: str | None = "2026-11-30T10:00:00.000Z", *, run: int = 1, device: str = "gate-01",
            **more: Any) -> dict[str, Any]:
    """Return a message with the keys that the program reads. `kind`: `detections` or `events`."""
    time = {"frame": {"captured_at": at}} if kind == "detections" else {"began": at}
    return {"schema": f"vedette.{kind}/1", "device": device, "run": run, "seq": seq, **time, **more}


def encoded(kind: str, seq: int, at: str | None = "2026-11-30T10:00:00.000Z", **more: Any) -> bytes:
    return json.dumps(message(kind, seq, at, **more)).encode()


class RunningIngest:
    """One process of it; its log is that of all lives of its `name`."""

    def __init__(self, folder: Path, port: int, server: Postgres, database: str = "postgres", *options: str,
                 name: str = "vedette-ingest") -> None:
        self.metrics = folder / f"{name}.prom"
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self.process = BoundedPopen(
                [sys.executable, "-m", "ingest", "--host", "127.0.0.1", "--port", str(port), "--client-id", name,
                 "--database", server.conninfo(database), "--metrics", str(self.metrics), *options],
                cwd=CONTRIB, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MQTT_PASSWORD": PASSWORD})

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def values(self) -> dict[str, float]:
        """Return the newest metrics that were written, by their name."""
        return {name: value for (name, _), value in series(self.metrics.read_text()).items()}


@contextmanager
def ingesting(folder: Path, port: int, server: Postgres, database: str = "postgres", *options: str,
              name: str = "vedette-ingest") -> Iterator[RunningIngest]:
    """Run it until the end of the block, and end it with SIGTERM if it runs then; it may be starting still."""
    program = RunningIngest(folder, port, server, database, *options, name=name)
    with program.process:
        yield program
        program.process.terminate()
        assert program.process.wait(PATIENCE_S) in (0, -signal.SIGKILL, -signal.SIGTERM), program.log


def kill(program: RunningIngest) -> None:
    """End it as a power cut would."""
    program.process.kill()
    program.process.wait(PATIENCE_S)
