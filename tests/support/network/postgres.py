"""A real PostgreSQL on a free loopback port: started, stopped and killed by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.network.ports import free_port
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until

USER = "postgres"


def programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, if they and psycopg are installed; apt's are beside the PATH."""
    if find_spec("psycopg") is None:
        return None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else next((each.parent for each in reversed(found)), None)


def needed() -> Path:
    """Return that folder. Without it the test is skipped."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's server or psycopg is missing: apt install postgresql, make setup")
    return found


class Postgres:
    """One server. As root it runs as the user `postgres`, because it refuses to be root.

    `folder` is given to that user. It is no folder of pytest's, into which only the user of the tests may look.
    `options` of the server follow `-c`.
    """

    def __init__(self, folder: Path, bin_folder: Path, *options: str) -> None:
        self.port = free_port()
        self.folder = folder
        self._bin = bin_folder
        self._options = [part for option in options for part in ("-c", option)]
        self._data = folder / "data"
        self._data.mkdir()
        self._log = folder / "log"
        self._connections: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._user = USER if os.geteuid() == 0 else None
        for each in (folder, self._data):
            self.give(each)
        self._run("initdb", "--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def conninfo(self, database: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database}"

    def give(self, folder: Path) -> None:
        """Let the server write there."""
        if self._user is not None:
            shutil.chown(folder, self._user)

    def query(self, query: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Return the rows of a query, on a connection that is kept."""
        import psycopg

        connection = self._connections.get(database)
        if connection is None or connection.closed:
            connection = psycopg.connect(self.conninfo(database), autocommit=True)
            self._connections[database] = connection
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-k", "",
                 "-c", "listen_addresses=127.0.0.1", *self._options],
                stdout=log, stderr=log, user=self._user, cwd="/")
        assert wait_until(self._answers), self.log

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends its connections first, SIGQUIT ends it at once, as a crash does."""
        for connection in self._connections.values():
            connection.close()
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run([self._bin / program, "-D", self._data, *args], capture_output=True, text=True,
                              user=self._user, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            self.query("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running(bin_folder: Path, *options: str) -> Iterator[Postgres]:
    """Run one in a new folder, with these options, such as `fsync=off`."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = Postgres(Path(folder), bin_folder, *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
