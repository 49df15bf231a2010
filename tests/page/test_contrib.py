"""The files of contrib/ and the guide name only metrics and labels that there are, and the alerts work."""

import json
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from contrib.ingest import metrics as ingest
from tests.fleet.test_rolls import RECORD
from tests.support.full_payload import everything
from tests.support.network.exposition import SUFFIXES, Family, read
from tests.support.network.prometheus import CONTRIB, DASHBOARD, ROOT, RULES, dashboard_expressions, needed
from vedette.fleet.outcomes import Tally
from vedette.fleet.roll_metrics import metrics
from vedette.page.device_state import DeviceState
from vedette.page.metrics import exposition

NAME = re.compile(r"\bvedette_[a-z0-9_]+")
SELECTOR = re.compile(r"\b(vedette_[a-z0-9_]+)\{([^}]*)\}")
LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!=|!~|=)\s*"')
GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
VALUE = re.compile(r'([a-z_]+)="([a-z_]+)"')
TARGET = {"job", "instance", "device"}
GUIDE = ROOT / "docs" / "prometheus.md"
TESTS = RULES.with_name("vedette.test.yml")


def all_families() -> dict[str, Family]:
    """Those of the page, of a rollout, and of contrib/ingest, by their names."""
    return {
        **read(exposition([DeviceState(Path("/socket"), datetime.now(UTC), "gate", reachable=True,
                                       messages=everything())])),
        **read(metrics(RECORD, Tally(3, 1, 0, {"blind": 1}, 0, 1))),
        **read(ingest.text("one", dict.fromkeys((*ingest.COUNTERS, *ingest.GAUGES), 0)))}


def known() -> dict[str, set[str]]:
    """The labels of each metric, by its name."""
    families = all_families()
    return {name + suffix: family.labels for name, family in families.items()
            for suffix in ("", *SUFFIXES.get(family.kind, ()))}


def rules() -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]
    return found


def expressions() -> list[str]:
    return [*dashboard_expressions(), *(rule["expr"] for rule in rules()),
            *re.findall(r"`((?:\w+\()?vedette_[^`]*)`", GUIDE.read_text("utf-8"))]


def test_every_metric_that_is_named_exists() -> None:
    """In the dashboard, the alerts, their tests and the guide."""
    texts = [DASHBOARD.read_text("utf-8"), RULES.read_text("utf-8"), TESTS.read_text("utf-8"), *expressions()]
    named = {name for text in texts for name in NAME.findall(text)}
    assert named - known().keys() == set()
    assert len(named) > 50


@pytest.mark.parametrize("expression", expressions())
def test_every_label_that_is_named_exists(expression: str) -> None:
    """A selector has labels of its metric, and a grouping those of a metric in the expression."""
    labels = known()
    for name, selector in SELECTOR.findall(expression):
        assert set(LABEL.findall(selector)) <= labels[name] | TARGET, name
    of_all = set().union(TARGET, *(labels[name] for name in NAME.findall(expression)))
    grouped = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
    assert grouped - of_all == set()


def test_every_value_of_a_label_exists() -> None:
    """A code or a state that is asked for is one that a device reports."""
    values = {(name, *pair) for name, family in all_families().items() for _, labels in family.samples
              for pair in labels}
    asked = {(name, *pair) for expression in expressions() for name, selector in SELECTOR.findall(expression)
             for pair in [*VALUE.findall(selector),
                          *((label, one) for label, many in re.findall(r'([a-z_]+)=~"([a-z_|]+)"', selector)
                            for one in many.split("|"))]}
    assert asked - values == set()
    assert len(asked) > 15


def test_every_legend_has_labels_of_its_metrics() -> None:
    """What stands in braces in the dashboard is a label that its expression leaves."""
    labels = known()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
            of_metrics = set().union(*(labels[name] for name in NAME.findall(target["expr"])))
            assert shown <= (set(kept[1].split(", ")) if kept else of_metrics), panel["title"]


def test_the_dashboard_can_be_imported() -> None:
    """Each panel has its own id and place, and asks the data source that is chosen at the top."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "device"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y) for panel in panels
             for x in range(panel["gridPos"]["w"]) for y in range(panel["gridPos"]["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        if panel["type"] != "row":
            assert panel["targets"]
            assert {each["datasource"]["uid"] for each in (panel, *panel["targets"])} == {"${datasource}"}


def test_every_alert_is_tested() -> None:
    """Each alert has a test in which it is quiet, and one in which it fires."""
    tested = [each for test in yaml.safe_load(TESTS.read_text("utf-8"))["tests"] for each in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules()}
    assert {each["alertname"] for each in tested if each.get("exp_alerts")} == alerts
    assert {each["alertname"] for each in tested if not each.get("exp_alerts")} == alerts
    assert len(alerts) == len(rules())


def promtool(*args: str | Path, folder: Path) -> str:
    done = subprocess.run([needed("promtool"), *args], capture_output=True, text=True, timeout=240, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_promtool_accepts_the_alerts_and_their_tests() -> None:
    """Prometheus' own checker takes the rules, and each alert is quiet and fires as its test says."""
    folder = RULES.parent
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES.name, folder=folder)
    assert "SUCCESS" in promtool("test", "rules", TESTS.name, folder=folder)


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """With the files that it names."""
    for name in ("page-cert.pem", "page-password.txt"):
        (tmp_path / name).touch()
    for path in (RULES, CONTRIB / "prometheus" / "prometheus.yml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert "is valid" in promtool("check", "config", "prometheus.yml", folder=tmp_path)


def test_promtool_accepts_every_expression(tmp_path: Path) -> None:
    """Those of the dashboard and of the guide are PromQL."""
    records = [{"record": f"x:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    promtool("check", "rules", "--lint=none", "all.yml", folder=tmp_path)


def test_the_job_of_the_guide_is_that_of_the_configuration() -> None:
    """The guide shows what contrib/ has."""
    block = re.search(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert block
    shown = yaml.safe_load(block[1])["scrape_configs"]
    assert shown == yaml.safe_load((CONTRIB / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]


def test_telegraf_asks_the_page() -> None:
    """Its file is TOML, also with the input that is switched off."""
    text = (CONTRIB / "telegraf" / "vedette.conf").read_text("utf-8")
    assert tomllib.loads(text)["inputs"]["prometheus"][0]["urls"] == ["http://127.0.0.1:8780/metrics"]
    both = tomllib.loads(re.sub(r"^# (?=\[\[|  )", "", text, flags=re.MULTILINE))
    assert both["inputs"]["mqtt_consumer"][0]["data_format"] == "json"
