"""A real Prometheus collects what a rollout and contrib/ingest report, through a real node_exporter."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contrib.ingest import metrics as ingest
from tests.fleet.test_rolls import RECORD
from tests.support.network.ports import free_port
from tests.support.network.prometheus import RULES, dashboard_expressions, needed, prometheus
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.fleet.outcomes import Tally
from vedette.fleet.roll_metrics import metrics

CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


@contextmanager
def node_exporter(folder: Path) -> Iterator[int]:
    """Run it with the textfile collector alone, on that folder; returns its port."""
    port = free_port()
    with (folder / "node_exporter.log").open("w") as log:
        process = subprocess.Popen(
            [needed("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile",
             f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=subprocess.STDOUT)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.mark.slow
def test_prometheus_has_what_the_files_say(tmp_path: Path) -> None:
    """Also through a link, and of two programs; the dashboard has a value for each, and the alerts fire."""
    needed("prometheus")
    collected, elsewhere = tmp_path / "collected", tmp_path / "elsewhere"
    collected.mkdir()
    elsewhere.mkdir()
    stopped = RECORD.model_copy(update={"state": RECORD.state.model_copy(update={"phase": "stopped"})})
    (elsewhere / "vedette-roll.prom").write_text(metrics(stopped, Tally(100, 60, 20, {"blind": 3, 'a"\\': 1}, 6, 10)))
    (collected / "vedette-roll.prom").symlink_to(elsewhere / "vedette-roll.prom")
    for client, database in (("one", 1), ("two", 0)):
        values = {"results": 41, "events": 5, "repeats": 2, "rejected": 1, "broker_connected": 1,
                  "database_connected": database, "committed_timestamp_seconds": time.time(),
                  "report_timestamp_seconds": time.time()}
        (collected / f"{client}.prom").write_text(ingest.text(client, values))
    (tmp_path / "rules.yml").write_bytes(RULES.read_bytes())
    with node_exporter(collected) as port, prometheus(tmp_path, CONFIG.replace("PORT", str(port))) as server:
        def value(expression: str) -> float | None:
            return next(iter(server.instant(expression).values()), None)
        assert wait_until(lambda: value("vedette_rollout_expected") == 100)
        assert value("node_textfile_scrape_error") == 0
        assert value('vedette_rollout_failed{release="7",code="blind"}') == 3
        assert value('vedette_ingest_results_total{client="two"}') == 41
        asked = [each for each in dashboard_expressions() if "vedette_rollout" in each or "vedette_ingest" in each]
        assert wait_until(lambda: all(server.instant(each) for each in asked))
        assert len(asked) > 10

        def firing() -> set[str]:
            return {each["labels"]["alertname"] for each in server.get("alerts")["alerts"] if each["state"] == "firing"}
        assert wait_until(lambda: {"VedetteRolloutStopped", "VedetteRolloutFailures"} <= firing())
        assert "VedetteIngestBlocked" in {each["labels"]["alertname"] for each in server.get("alerts")["alerts"]}
        assert value('time() - node_textfile_mtime_seconds{file=~".*roll.*"}') is not None
