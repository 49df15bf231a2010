"""A real Prometheus and its promtool, and the files of contrib/ that are for them."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.network.ports import free_port
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import eventually

ROOT = Path(__file__).parents[3]
CONTRIB = ROOT / "contrib"
RULES = CONTRIB / "prometheus" / "vedette.rules.yml"
DASHBOARD = CONTRIB / "grafana" / "vedette.json"
BROUGHT = ROOT / ".campaign" / "prometheus" / "usr" / "bin"
"""Where tools/prometheus puts the programs."""


def program(name: str) -> str | None:
    """Return the path of `prometheus` or `promtool`, if it is there."""
    return str(BROUGHT / name) if (BROUGHT / name).exists() else shutil.which(name)


def needed(name: str) -> str:
    """Return its path. Without it the test is skipped; in CI it fails."""
    found = program(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing: run tools/prometheus")
    if found is None:
        pytest.skip(f"{name} is missing: make deps-test brings it")
    return found


def dashboard_expressions() -> list[str]:
    """Return each expression of the dashboard, with values in place of Grafana's own variables."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"].replace("$__rate_interval", "2m").replace("$__range", "1h").replace("$device", ".*")
            for panel in panels for target in panel.get("targets", ())]


class Prometheus:
    """One that runs, by its address."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        """Ask its HTTP API; returns `data`."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}",  # noqa: S310
                                    timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]

    def instant(self, expression: str, **query: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return the values of an expression by their labels, less those of the target."""
        return {frozenset((name, text) for name, text in each["metric"].items() if name not in ("job", "instance")):
                float(each["value"][1]) for each in self.get("query", query=expression, **query)["result"]}


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """Run it with this configuration and a folder of its own."""
    port = free_port()
    (folder / "prometheus.yml").write_text(config)
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [str(program("prometheus")), f"--config.file={folder}/prometheus.yml",
             f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder}/data"],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        eventually(lambda: _is_ready(server))
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _is_ready(server: Prometheus) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/-/ready", timeout=PATIENCE_S) as answer:     # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False
