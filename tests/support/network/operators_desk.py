"""An operator's desk: a fleet worked with the commands of `vedette fleet`, a plain web server that gives it away, and
`fleet watch`.
"""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.broker.mosquitto import Mosquitto
from tests.support.daemon.running import environment, vedette
from tests.support.network.http_server import served
from tests.support.waiting.until import wait_until


class Fleet:
    """A fleet in `folder/fleet`, published to `folder/www`. A command that fails is an AssertionError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fleet = folder / "fleet"
        self.www = folder / "www"
        self.run("init")

    @property
    def root(self) -> Path:
        return self._fleet / "root.json"

    @property
    def salt(self) -> str:
        return str(json.loads((self._fleet / "fleet.json").read_text())["salt"])

    def run(self, command: str, *arguments: str | Path) -> str:
        done = vedette("fleet", command, self._fleet, *arguments, folder=self._folder, timeout_s=120)
        assert done.returncode == 0, (command, arguments, done.stderr)
        return done.stdout

    def publish(self) -> None:
        self.run("publish", self.www)

    def release(self, bundle: Path, *arguments: str) -> int:
        """Add a bundle, release and publish it; returns the release's number."""
        self.run("add", bundle, "--allow-unproven")
        answer = json.loads(self.run("release", bundle, "--json", *arguments))
        self.publish()
        return int(answer["release"])


@dataclass
class WebServer:
    """`asked` has the requested paths, in order."""

    port: int
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def polls(self) -> int:
        """The number of polls by devices."""
        return self.count("/metadata/timestamp.json")

    def count(self, text: str) -> int:
        return sum(text in path for path in tuple(self.asked))


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[WebServer]:
    """Serve a folder over HTTP on loopback."""
    answer = WebServer(port)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            answer.asked.append(self.path)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    folder.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))
    answer.port = server.server_address[1]
    with served(server):
        yield answer


class FleetWatch:
    """`vedette fleet watch --json` as an operator leaves it running; `rows` are the latest, by device."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vedette", "fleet", "watch", "--json", "--host", "127.0.0.1",
             "--port", str(broker.port)], stdout=subprocess.PIPE, text=True, cwd=folder, env=environment(folder))
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(60)
        self._thread.join(60)
        self._lines.close()

    def waits_for(self, holds: Callable[[dict[str, dict[str, Any]]], bool], within_s: float) -> bool:
        """Wait until `holds` is true of the rows."""
        return wait_until(lambda: holds(self.rows), within_s)

    def _collect(self) -> None:
        for line in self._lines:
            row = json.loads(line)
            self.rows = {**self.rows, row["device"]: row}
