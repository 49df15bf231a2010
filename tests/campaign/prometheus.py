"""Campaign `prometheus`: a real Prometheus scrapes a real page of two real daemons, and its values equal health.

    .venv/bin/python tests/campaign/prometheus.py --state .campaign/prometheus.json

`tools/prometheus` gets Prometheus from apt, without installing it. It reads the page with its password, once a second,
and checks the alerts of contrib/ with shortened waits. Each scrape of the daemon `gate` is compared with the health
message of the same time, as a subscriber of the broker has it: a list of values that this file computes itself, and
every other series. In turn: it runs; it is paused, so there are no objects; it is killed, so only `vedette_up` is left;
it starts again. Meanwhile `yard` has no broker. Each expression of the dashboard is asked, promtool checks everything,
and without the password there is no value. One JSON line; 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.running import RunningDaemon
from tests.support.network.exposition import Series, read, series
from tests.support.network.ports import free_port
from tests.support.network.prometheus import (
    ROOT,
    RULES,
    Prometheus,
    dashboard_expressions,
    program,
    prometheus,
)
from tests.support.waiting.until import eventually, wait_until
from vedette.page.device_state import DeviceState
from vedette.page.metrics import exposition

PASSWORD = "a password of the campaign"     # noqa: S105 - of a page on loopback that ends with the campaign
DAEMON = """
device: NAME
camera: {source: synthetic, fps: 4, width: 640, height: 360}
mqtt: {port: PORT}
health: {interval_s: 1}
zones: {road: {points: [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}}
commands: {allow: [pause, resume]}
"""
PAGE = """
page: {daemons: [SOCKETS], password_file: PASSWORD}
"""
CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: vedette
    basic_auth: {username: prometheus, password_file: right.txt}
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
  - job_name: stranger
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""
SCRAPES = 20
GATE = '{job="vedette",device="gate"}'
ADDED = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
         "scrape_series_added", "ALERTS", "ALERTS_FOR_STATE"}
"""What Prometheus adds itself."""
OTHER = ("vedette_objects", "vedette_zone", "vedette_detecting", "vedette_up")
"""Of other messages than health, info and model."""
AGAIN_S = 0.5
"""Between looks at whole scrapes."""


class Wrong(Exception):
    """A step did not go as it must."""


def by_hand(health: Mapping[str, Any]) -> dict[str, float]:
    """Some series of `gate`, computed here: a metric with its labels -> value."""
    capture, mqtt, board = health["capture"], health["mqtt"], health["board"]
    found = {
        "vedette_runs_total": health["run"],
        "vedette_uptime_seconds": health["uptime_s"],
        'vedette_health_state{state="degraded"}': float(health["state"] == "degraded"),
        'vedette_reason{code="paused"}': float(any(each["code"] == "paused" for each in health["reasons"])),
        "vedette_frames_captured_total": capture["captured"],
        "vedette_frames_detected_total": capture["detected"],
        "vedette_frames_pending": capture["pending"],
        "vedette_camera_frames_per_second": capture["fps"],
        'vedette_camera_state{state="capturing"}': float(capture["state"] == "capturing"),
        "vedette_inferences_total": health["inference"]["count"],
        "vedette_mqtt_connected": float(mqtt["connected"]),
        "vedette_mqtt_published_total": mqtt["published"],
        "vedette_outbox_messages": mqtt["outbox_depth"],
        "vedette_clock_synced": float(board["clock_synced"]),
        "vedette_governor_ratio": health["governor"]["share"],
        **{f'vedette_frames_dropped_total{{cause="{cause}"}}': count for cause, count in capture["dropped"].items()},
        **{f'vedette_score_mean{{label="{label}"}}': each["mean"] for label, each in health["scores"].items()},
        **{f'vedette_score_bucket{{label="{label}",le="0.5"}}': sum(each["histogram"][:5])
           for label, each in health["scores"].items()},
    }
    for name, value in (("daemon_resident_memory", board["rss_mb"]), ("disk_free", board["disk_free_mb"])):
        found[f"vedette_{name}_bytes"] = round(value * 1e6)
    for rank, value in (capture["age_ms"] or {}).items():
        found[f'vedette_frame_age_seconds{{percentile="{rank}"}}'] = round(value / 1000, 6)
    return found


class Campaign:
    """All steps, in order, with what they share."""

    def __init__(self, server: Prometheus, broker: Mosquitto, subscriber: Subscriber, page: str) -> None:
        self.server = server
        self.broker = broker
        self.subscriber = subscriber
        self.page = page
        self.figures: dict[str, Any] = {"scrapes": 0, "series_compared": 0, "by_hand": 0}
        self._compared: set[float] = set()

    def value(self, expression: str) -> float | None:
        """The value of an expression that has one series at most."""
        return next(iter(self.server.instant(expression).values()), None)

    def scrapes(self) -> dict[float, dict[Series, float]]:
        """The series of `gate` in each scrape of the last seconds, by the time of the scrape."""
        found: dict[float, dict[Series, float]] = {}
        for each in self.server.get("query", query=f"{GATE}[8s]")["result"]:
            labels = {name: text for name, text in each["metric"].items() if name not in ("job", "instance")}
            name = labels.pop("__name__")
            for at, value in each["values"] if name not in ADDED else ():
                found.setdefault(at, {})[name, frozenset(labels.items())] = float(value)
        return found

    def compare(self, count: int) -> None:
        """So many scrapes equal health of the same time."""
        def enough() -> bool:
            threading.Event().wait(AGAIN_S)
            for at, scraped in self.scrapes().items():
                health = self._health_of(scraped)
                if health is not None and at not in self._compared:
                    self._compared.add(at)
                    self._compare(at, scraped, health)
            return len(self._compared) >= until
        until = len(self._compared) + count
        if not wait_until(enough):
            raise Wrong(f"only {len(self._compared)} scrapes of {until}")
        self.figures["scrapes"] = len(self._compared)

    def paused(self) -> None:
        """No number of objects, and a reason; then numbers again."""
        send(self.broker.client(), "vedette/gate/cmd/pause", b"{}")
        if not wait_until(lambda: self.value('vedette_reason{job="vedette",device="gate",code="paused"}') == 1
                          and self.value(f"vedette_detecting{GATE}") == 0):
            raise Wrong("the pause is not seen")
        for name in ("vedette_objects", "vedette_zone_things", "vedette_zone_label_things"):
            if found := self.server.instant(f"{name}{GATE}"):
                raise Wrong(f"paused: {name} is {found}")
        self.compare(5)
        self._fires("VedettePaused")
        if self._alert("VedetteNotLooking"):
            raise Wrong("an alert for a device that is paused")
        send(self.broker.client(), "vedette/gate/cmd/resume", b"{}")
        if not wait_until(lambda: self.value(f"vedette_detecting{GATE}") == 1
                          and self.server.instant(f"vedette_objects{GATE}")):
            raise Wrong("detection again is not seen")

    def killed(self) -> None:
        """Only `vedette_up` is left of it, and the other daemon is not affected."""
        def left() -> set[str]:
            found = self.server.instant('{job="vedette",device="gate",__name__!~"ALERTS.*"}')
            return {dict(labels)["__name__"] for labels in found}
        if not wait_until(lambda: self.value(f"vedette_up{GATE}") == 0 and left() == {"vedette_up"}):
            raise Wrong(f"killed: {left()}")
        self._fires("VedetteDeviceAway")
        if self.value('vedette_up{job="vedette",device="yard"}') != 1:
            raise Wrong("the other daemon is away too")

    def started_again(self, began: float) -> None:
        """One run more, and nothing of the run before; the counters begin again."""
        if not wait_until(lambda: self.value(f"vedette_runs_total{GATE}") == 2):
            raise Wrong("the next run is not seen")
        self.compare(5)
        up_again = f"min_over_time(vedette_runs_total{GATE}[{int(time.time() - began)}s])"
        if self.value(up_again) != 2:
            raise Wrong("values of the run before")
        if not wait_until(lambda: self.value(f"resets(vedette_frames_captured_total{GATE}[5m])") == 1):
            raise Wrong("the counter did not begin again")

    def others(self) -> None:
        """The device without a broker, the stranger, the dashboard, and Prometheus' own view of the page."""
        if self.value('vedette_mqtt_connected{job="vedette",device="yard"}') != 0:
            raise Wrong("yard has no broker")
        self._fires("VedetteBrokerAway")
        if self.value('up{job="stranger"}') != 0 or self.server.instant('{job="stranger",device!=""}'):
            raise Wrong("the page answers without a password")
        answered = {expression: len(self.server.instant(expression)) for expression in dashboard_expressions()}
        self.figures["dashboard_expressions"] = len(answered)
        self.figures["without_a_value_here"] = sorted(each for each, count in answered.items() if not count)
        self.figures["samples_of_two_daemons"] = self.value('scrape_samples_scraped{job="vedette"}')
        self.figures["scrape_ms"] = round(1000 * (self.value(
            'avg_over_time(scrape_duration_seconds{job="vedette"}[1m])') or 0), 1)

    def promtool(self) -> None:
        """Its checks of the metrics, the alerts and their tests."""
        credentials = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
        asked = urllib.request.Request(f"{self.page}/metrics", headers={"Authorization": f"Basic {credentials}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=60) as answer:     # noqa: S310
            text = answer.read().decode()
        read(text)
        self.figures["bytes_of_two_daemons"] = len(text.encode())
        for args, content in ((("check", "metrics"), text), (("check", "rules", str(RULES)), ""),
                              (("test", "rules", str(RULES.with_name("vedette.test.yml"))), "")):
            done = subprocess.run([str(program("promtool")), *args], input=content, capture_output=True, text=True)
            if done.returncode or done.stderr:
                raise Wrong(f"promtool {args}: {done.stdout}{done.stderr}")

    def _health_of(self, scraped: dict[Series, float]) -> dict[str, Any] | None:
        at = scraped.get(("vedette_health_timestamp_seconds", frozenset({("device", "gate")})))
        return next((health for health in self.subscriber.published("health")
                     if at is not None and abs(datetime.fromisoformat(health["at"]).timestamp() - at) < 1e-4), None)

    def _compare(self, at: float, scraped: dict[Series, float], health: dict[str, Any]) -> None:
        plain = {_text(each): value for each, value in scraped.items()}
        expected = by_hand(health)
        wrong = {each: (plain.get(each), value) for each, value in expected.items() if plain.get(each) != value}
        mine = {each: value for each, value in scraped.items() if not each[0].startswith(OTHER)}
        differ = [wrong | _differences(mine, {"health": health, "info": info, "model": model})
                  for info in self.subscriber.published("info") for model in self.subscriber.published("model")]
        if all(differ):
            raise Wrong(f"scrape of {at}: {differ}")
        self._compare_counts(at, scraped)
        self.figures["series_compared"] += len(mine)
        self.figures["by_hand"] += len(expected)

    def _compare_counts(self, at: float, scraped: dict[Series, float]) -> None:
        """The objects that are not 0 are those of a counts message shortly before."""
        objects = {dict(labels)["label"]: value for (name, labels), value in scraped.items()
                   if name == "vedette_objects" and value}
        detecting = scraped["vedette_detecting", frozenset({("device", "gate")})]
        recent = [message["counts"] for message in self.subscriber.published("counts")]
        near = [counts for counts in recent[-200:] if (counts is not None) == bool(detecting)]
        if not any((counts or {}) == objects for counts in near):
            raise Wrong(f"scrape of {at}: objects {objects} were never published: {near[-10:]}")

    def _alert(self, name: str) -> list[str]:
        return [alert["state"] for alert in self.server.get("alerts")["alerts"] if alert["labels"]["alertname"] == name]

    def _fires(self, name: str) -> None:
        if not wait_until(lambda: "firing" in self._alert(name)):
            raise Wrong(f"{name} does not fire")


def _differences(mine: dict[Series, float], messages: dict[str, Any]) -> dict[str, Any]:
    """What differs from all series that these messages make."""
    state = DeviceState(Path("/socket"), datetime.now(UTC), "gate", reachable=True, messages=messages)
    whole = {each: value for each, value in series(exposition([state])).items() if not each[0].startswith(OTHER)}
    return {_text(each): (mine.get(each), whole.get(each)) for each in mine.keys() | whole.keys()
            if mine.get(each) != whole.get(each)}


def _text(each: Series) -> str:
    name, labels = each
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels) if label != "device")
    return f"{name}{{{pairs}}}" if pairs else name


def daemon(folder: Path, name: str, port: int) -> tuple[Path, Path]:
    """Write the configuration of a daemon; returns it, and the path of its socket."""
    (folder / name).mkdir()
    path = folder / name / "config.yaml"
    path.write_text(DAEMON.replace("NAME", name).replace("PORT", str(port)))
    return path, folder / name / "state" / "socket"


def page_config(folder: Path, sockets: list[Path]) -> Path:
    """Write the configuration of the page and its password."""
    password = folder / "password"
    subprocess.run([sys.executable, "-m", "vedette", "page", "--set-password", password], input=f"{PASSWORD}\n",
                   text=True, check=True)
    path = folder / "page.yaml"
    path.write_text(PAGE.replace("SOCKETS", ", ".join(map(str, sockets))).replace("PASSWORD", str(password)))
    return path


def prometheus_config(folder: Path, port: int) -> str:
    """Write the files that Prometheus needs; returns its configuration. Alerts wait for seconds in place of longer."""
    (folder / "right.txt").write_text(PASSWORD)
    (folder / "rules.yml").write_text(re.sub(r"for: \w+", "for: 3s", RULES.read_text("utf-8")))
    return CONFIG.replace("PORT", str(port))


def run(folder: Path) -> dict[str, Any]:
    """Go through all steps; returns figures, and what was wrong."""
    port = free_port()
    with running(folder) as broker, listening(broker.client(), "vedette/#") as subscriber:
        gate, gate_socket = daemon(folder, "gate", broker.port)
        yard, yard_socket = daemon(folder, "yard", free_port())
        page = page_config(folder, [gate_socket, yard_socket])
        with (RunningDaemon(folder, "--config", page, "--listen", f"127.0.0.1:{port}",
                            program=("-m", "vedette", "page")),
              RunningDaemon(folder / "yard", "--config", yard),
              prometheus(folder, prometheus_config(folder, port)) as server):
            campaign = Campaign(server, broker, subscriber, f"http://127.0.0.1:{port}")
            try:
                with RunningDaemon(folder / "gate", "--config", gate) as first:
                    eventually(lambda: subscriber.published("counts") and subscriber.published("info"))
                    campaign.compare(SCRAPES)
                    campaign.paused()
                    campaign.others()
                    campaign.promtool()
                    first.signal(signal.SIGKILL)
                    campaign.killed()
                began = time.time()
                with RunningDaemon(folder / "gate", "--config", gate):
                    campaign.started_again(began)
                wrong: list[str] = []
            except (Wrong, AssertionError) as error:
                wrong = [str(error)[:3000]]
        complaints = [line for line in (folder / "prometheus.log").read_text().splitlines()
                      if "level=error" in line or ("level=warn" in line and "SIGTERM" not in line)]
        return {**campaign.figures, "wrong": wrong + complaints}


def main() -> int:
    """Run it; returns 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path(".campaign/prometheus.json"))
    args = parser.parse_args()
    subprocess.run([ROOT / "tools" / "prometheus"], check=True, stdout=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        done = run(Path(folder))
    args.state.parent.mkdir(parents=True, exist_ok=True)
    args.state.write_text(json.dumps(done))
    print(json.dumps({"campaign": "prometheus", **done}))
    return 1 if done["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
