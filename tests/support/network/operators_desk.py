"""An operator's desk: a fleet made with the commands of `vedette fleet`, and `fleet watch`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.broker.mosquitto import Mosquitto
from tests.support.daemon.running import environment, vedette
from tests.support.waiting.until import wait_until


class Fleet:
    """A fleet in `folder`, published to `www` beside it. A command that fails is an AssertionError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = folder / "fleet"
        self.www = folder / "www"
        self.run("init")

    @property
    def root(self) -> Path:
        return self.folder / "root.json"

    @property
    def salt(self) -> str:
        return str(json.loads((self.folder / "fleet.json").read_text())["salt"])

    def run(self, command: str, *arguments: str | Path) -> str:
        done = vedette("fleet", command, self.folder, *arguments, folder=self._folder, timeout_s=120)
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
