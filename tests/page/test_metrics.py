"""The metrics of the page: each value of the messages is there, in Prometheus' units, and what is null is not."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support.full_payload import NAMES, SHAPES, everything, leaves, nullable, replaced
from tests.support.network.exposition import read, series
from tests.support.network.prometheus import needed
from tests.support.plain_english import long_sentences
from vedette.page.device_state import DeviceState
from vedette.page.metric_table import METRICS
from vedette.page.metrics import document, exposition
from vedette.types import ReasonCode

ROOT = Path(__file__).parents[2]
NO_METRIC = {"schema", "device", "detail", "since", "cause", "why", "schemas", "reason_codes", "commands", "cores",
             "captured_at", "last_outcome", "acknowledged_before", "config", "places", "receiver"}
"""Keys that are texts for a person, settings, or of no use over time."""
REPEATED = {("health", "last_end", "run"), ("info", "run"), ("info", "detector")}
"""Values that are the same elsewhere, or whose neighbour says it."""


def state(device: str, messages: Mapping[str, Any], *, reachable: bool = True,
          path: Path = Path("/run/vedette/socket")) -> DeviceState:
    return DeviceState(path, datetime.now(UTC), device, reachable=reachable, messages=messages)


def samples(messages: Mapping[str, Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return series(exposition([state("gate", messages)]))


def sample(messages: Mapping[str, Any], name: str, **labels: str) -> float | None:
    return samples(messages).get((name, frozenset({"device": "gate", **labels}.items())))


def another(value: object) -> object:
    return not value if isinstance(value, bool) else value + 0.25 if isinstance(value, float) else (
        value + 1 if isinstance(value, int) else f"{value} more")


def test_every_value_of_the_messages_has_a_metric() -> None:
    """Each number, truth value and state of the messages changes the exposition when it changes."""
    messages = everything()
    before = exposition([state("gate", messages)])
    messages_of = [(path, value) for path, value in leaves(messages)
                   if not NO_METRIC & set(path) and not any(path[:len(each)] == each for each in REPEATED)]
    missing = [path for path, value in messages_of if path != ("health", "at")
               and exposition([state("gate", replaced(messages, path, another(value)))]) == before]
    assert missing == []
    assert len(messages_of) > 100


def test_what_is_null_has_no_sample() -> None:
    """With a null there are fewer samples or the same ones, and no other value of any of them."""
    messages = everything()
    before = samples(messages)
    paths = [(topic, *path) for topic, shape in SHAPES.items() if topic != "counts" for path in nullable(shape)]
    for path in paths:
        after = samples(replaced(messages, path, None))
        if path[-1] != "looking":      # no fallback looks: a fact, not an unknown
            assert after.items() <= before.items() or only_labels_went(before, after), path
    assert len(paths) > 40


def only_labels_went(before: dict[Any, float], after: dict[Any, float]) -> bool:
    """Whether what is new is an `_info` with fewer labels."""
    new = dict(after.items() - before.items())
    return all(value == 1 and name.endswith("_info") and any(name == other and labels < more for other, more in before)
               for (name, labels), value in new.items())


def test_every_null_together() -> None:
    """Messages of a device that has just started: no model, no frame, no board."""
    messages: Any = everything()
    for topic, shape in SHAPES.items():
        for path in sorted(nullable(shape), key=len, reverse=True):
            messages = replaced(messages, (topic, *path), None)
    left = read(exposition([state("gate", messages)]))
    assert "vedette_frame_age_seconds" not in left
    assert "vedette_board_temperature_celsius" not in left
    assert "vedette_objects" not in left
    assert sample(messages, "vedette_detecting") == 0


@pytest.mark.slow
def test_a_message_of_another_shape_costs_only_its_own_metric() -> None:
    """Whatever is in the place of a value, the rest is there, and all of it can be read."""
    messages = everything()
    for number, path in enumerate(nodes(messages)):
        strange = replaced(messages, path, (7, "text", [7], {"x": [None]}, [{"code": 7}])[number % 5])
        assert ("vedette_up", frozenset({("device", "gate")})) in samples(strange), path
        if path[0] != "health":
            assert sample(strange, "vedette_runs_total") == messages["health"]["run"], path


def nodes(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything in the messages, but one value of each list."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield (*path, key)
            yield from nodes(value, (*path, key))
    elif isinstance(tree, list):
        yield (*path, 0)


def test_counts() -> None:
    """Objects in view by label, and 0 for what was there before; null: not detecting, and no objects at all."""
    messages = everything()
    messages["counts"]["counts"] = {"car": 3}
    assert sample(messages, "vedette_objects", label="car") == 3
    assert sample(messages, "vedette_objects", label="person") == 0, "it has scores, so it was there"
    assert sample(messages, "vedette_detecting") == 1
    messages["counts"]["counts"] = None
    messages["zones"]["zones"] = None
    assert not {name for name, _ in samples(messages)} & {"vedette_objects", "vedette_zone_things",
                                                           "vedette_zone_label_things"}
    assert sample(messages, "vedette_detecting") == 0


def test_zones() -> None:
    """An empty zone has 0 things; a zone's things are those of all labels."""
    messages = everything()
    messages["zones"]["zones"] = {"drive": {"car": 2, "person": 1}, "lawn": {}}
    assert sample(messages, "vedette_zone_things", zone="drive") == 3
    assert sample(messages, "vedette_zone_things", zone="lawn") == 0
    assert sample(messages, "vedette_zone_label_things", zone="drive", label="car") == 2


def test_a_daemon_that_does_not_answer_has_only_up() -> None:
    """What it said before is not repeated."""
    text = exposition([state("gate", everything(), reachable=False)])
    assert series(text) == {("vedette_up", frozenset({("device", "gate")})): 0}
    assert series(exposition([])) == {}


def test_each_daemon_has_its_name() -> None:
    """Without a name, or with the name of another one, it has that of its socket."""
    states = [state("gate", {}), state("", {}, reachable=False, path=Path("/run/vedette-a/socket")),
              state("gate", everything(), path=Path("/run/vedette-b/socket"))]
    up = read(exposition(states))["vedette_up"].samples
    assert {dict(labels)["device"]: value for (_, labels), value in up.items()} == {
        "gate": 1, "/run/vedette-a/socket": 0, "/run/vedette-b/socket": 1}


def test_units_are_base_units() -> None:
    """Milliseconds, megabytes, megahertz, hours and percent become seconds, bytes, hertz and ratios."""
    messages = everything()
    health = messages["health"]
    health["capture"]["age_ms"]["p95"] = 123.45
    health["board"] |= {"disk_free_mb": 51825.7, "cpu_mhz": 1500.0, "temperature_c": 61.3}
    health["drift"]["learning_hours"] = 47.5
    messages["model"]["update_percentage"] = 12.5
    assert sample(messages, "vedette_frame_age_seconds", percentile="p95") == 0.12345
    assert sample(messages, "vedette_disk_free_bytes") == 51_825_700_000
    assert sample(messages, "vedette_cpu_frequency_hertz") == 1.5e9
    assert sample(messages, "vedette_board_temperature_celsius") == 61.3
    assert sample(messages, "vedette_drift_learning_seconds") == 171_000
    assert sample(messages, "vedette_model_update_ratio") == 0.125
    assert sample(messages, "vedette_health_timestamp_seconds") == 1796025741.333


def test_states_are_one_of_many() -> None:
    """The present state is 1 and each other one 0, also one that only the daemon knows."""
    messages = everything()
    messages["health"]["state"] = "failed"
    messages["health"]["reasons"] = [{"code": "hot", "since": "", "detail": None}, {"code": "new_one", "since": ""}]
    assert [sample(messages, "vedette_health_state", state=each) for each in ("ok", "failed")] == [0, 1]
    reasons = read(exposition([state("gate", messages)]))["vedette_reason"].samples
    assert {dict(labels)["code"] for (_, labels), value in reasons.items() if value} == {"hot", "new_one"}
    assert len(reasons) == len(get_args(ReasonCode)) + 1


def test_scores_are_a_histogram() -> None:
    """Its buckets are cumulative, and the last one has every score."""
    messages = everything()
    messages["health"]["scores"] = {"car": {"count": 9, "mean": 0.7, "histogram": [0, 0, 0, 2, 1, 0, 0, 3, 3, 0]}}
    buckets = [sample(messages, "vedette_score_bucket", label="car", le=le) for le in ("0.3", "0.4", "0.9", "+Inf")]
    assert buckets == [0, 2, 9, 9]
    assert sample(messages, "vedette_score_count", label="car") == 9


def test_the_brief_health_has_fewer_metrics() -> None:
    """A health message without its optional sections, and a device without other messages."""
    health = {key: value for key, value in everything()["health"].items()
              if key not in ("scores", "image", "drift", "board", "governor")}
    found = read(exposition([state("gate", {"health": health, "best/car": None})]))
    assert "vedette_frames_captured_total" in found
    assert not [name for name in found if name.startswith(("vedette_score", "vedette_disk", "vedette_objects"))]


def test_every_metric_is_there_once_and_well_named() -> None:
    """A counter ends with `_total`, nothing else does; labels are those of the table."""
    found = read(exposition([state("gate", everything()), state("yard", everything())]))
    assert list(found) == ["vedette_up", *(metric.name for metric in METRICS)]
    assert all(name.startswith("vedette_") and (family.kind == "counter") == name.endswith("_total")
               for name, family in found.items())
    for metric in METRICS:
        assert found[metric.name].labels == {"device", *metric.reader.labels}, metric.name
    assert NAMES[1] in {value for _, labels in samples(everything()) for _, value in labels}, "escaped and read again"


def test_promtool_has_nothing_to_say() -> None:
    """Prometheus' own checker finds no fault."""
    done = subprocess.run([needed("promtool"), "check", "metrics"], input=exposition([state("gate", everything())]),
                          capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_document_matches_the_table() -> None:
    """docs/metrics.md has the content of the table; `make docs` writes it."""
    printed = subprocess.run([sys.executable, "-m", "vedette.page.metrics"], capture_output=True, text=True,
                             check=True, timeout=240)
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == document() == printed.stdout
    assert long_sentences(document()) == []
