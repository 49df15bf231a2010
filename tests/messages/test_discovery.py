"""What Home Assistant gets: which entities, of which topics, and what their templates guard."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.cli.schemas import CHANNELS
from vedette.config.models import Config
from vedette.messages import payloads, topics
from vedette.messages.discovery import LABELS_MAX, chosen_labels, discovery, discovery_topic
from vedette.mqtt.command_filter import KNOWN, CommandFilter, Incoming
from vedette.types import Command

EVERYTHING: dict[str, Any] = {
    "commands": {"allow": list(KNOWN)}, "events": {"labels": ["person", "car"], "pictures": ["person"]},
    "zones": {"drive": {"points": [[0, 0.5], [1, 0.5], [1, 1]]},
              "back yard": {"points": [[0, 0], [1, 0], [1, 0.4]], "labels": ["person"]}},
    "update": {"source": "/models", "root": "/root.json"}}
OBJECTS_THAT_MAY_BE_NULL = ("value_json.counts", "value_json.zones", "value_json.capture.age_ms", "value_json.board")
# As Home Assistant 2026.2 has them: keys of each platform that are used here, and the device classes.
KEYS = {
    "sensor": {"state_topic", "value_template", "state_class", "device_class", "unit_of_measurement", "options", "icon",
               "entity_category"},
    "binary_sensor": {"state_topic", "value_template", "device_class", "entity_category", "json_attributes_topic",
                      "json_attributes_template"},
    "event": {"state_topic", "value_template", "event_types"},
    "image": {"image_topic", "content_type"},
    "update": {"state_topic", "value_template", "command_topic", "payload_install", "entity_category"},
    "switch": {"state_topic", "value_template", "command_topic", "icon"},
    "button": {"command_topic", "payload_press", "device_class", "icon", "entity_category"},
}
DEVICE_CLASSES = {"sensor": {"enum", "duration", "temperature"}, "binary_sensor": {"occupancy", "problem"},
                  "button": {"restart"}}


def made(of_model: tuple[str, ...] = (), **sections: Any) -> dict[str, Any]:
    config = Config.model_validate({"homeassistant": {"enabled": True}, **sections})
    labels, _ = chosen_labels(config, of_model)
    pictures = config.events.pictures
    return discovery(config, "gate-01", labels,
                     lambda label: pictures if isinstance(pictures, bool) else label in pictures)


def components(**sections: Any) -> dict[str, dict[str, Any]]:
    return dict(made(**sections)["components"])


def test_every_entity_of_a_whole_device() -> None:
    """Count and occupancy per label, per zone, and per label that counts in a zone; the rest once."""
    keys = set(components(**EVERYTHING))
    numbers = {"label-person", "label-car", "zone-drive", "zone-drive/person", "zone-drive/car", "zone-back%20yard",
               "zone-back%20yard/person"}
    assert keys == {f"{key}/{what}" for key in numbers for what in ("count", "occupancy")} | {
        "event", "best/person", "snapshot", "problem", "camera", "rate", "age", "temperature", "model", "detection",
        *(f"command/{name}" for name in ("snapshot", "pause", "resume", "update", "rollback", "relearn", "restart"))}


def test_the_structure_is_what_home_assistant_takes() -> None:
    """One component without a platform, or with a wrong device class, would cost all entities or one of them."""
    message = made(**EVERYTHING)
    assert message["device"]["identifiers"] == ["vedette_gate-01"]
    assert message["origin"]["name"]
    for key, component in message["components"].items():
        assert re.fullmatch(r"[^\s]+", key)
        assert set(component) <= KEYS[component["platform"]] | {"platform", "name", "unique_id"}, key
        assert component.get("device_class") in {None, *DEVICE_CLASSES.get(component["platform"], ())}, key
        assert component.get("entity_category") in (None, "diagnostic", "config"), key
        assert not component["name"].startswith(message["device"]["name"])
    for what in ("unique_id", "name"):
        values = [component[what] for component in message["components"].values()]
        assert len(set(values)) == len(values)


def test_every_topic_is_one_that_the_device_has() -> None:
    """An entity of a topic that nobody publishes would stay unknown for ever."""
    message = made(**EVERYTHING)
    known = {channel.address.replace("{device}", "gate-01").replace("{label}", "person") for channel in CHANNELS}
    sent = {f"vedette/gate-01/cmd/{name}" for name in KNOWN}
    for key, component in message["components"].items():
        for name, topic in component.items():
            if name.endswith("_topic"):
                assert topic in (sent if name == "command_topic" else known), key
    assert message["availability_topic"] in known
    assert discovery_topic("homeassistant", "gate-01") in known


def test_what_may_be_null_is_unknown() -> None:
    """Each template that reads a value of an object that may be null, or absent, gives none then: never 0 or off."""
    guarded = 0
    for key, component in components(**EVERYTHING).items():
        template = component.get("value_template", "")
        for value in OBJECTS_THAT_MAY_BE_NULL:
            if f"{value}." in template or f"{value}[" in template:
                assert re.fullmatch(rf"{{{{ .* if {re.escape(value)} is mapping( and .* in {re.escape(value)})? "
                                    r"else none }}", template), key
                guarded += 1
    assert guarded == 16


def test_the_update_entity_gets_no_null_and_no_other_key() -> None:
    """Home Assistant refuses the whole message otherwise."""
    template = components()["model"]["value_template"]
    assert "rejectattr(1, 'none')" in template
    listed = json.loads(re.findall(r"\[.*\]", template)[0].replace("'", '"'))
    assert set(listed) == {"title", "installed_version", "latest_version", "in_progress", "update_percentage"}


def test_a_late_event_is_no_event_now() -> None:
    """What waited on disk would fire automations hours later."""
    assert components()["event"]["value_template"].startswith("{% if not value_json.backfilled %}")


@pytest.mark.parametrize("allowed", [(), ("snapshot",), ("pause", "resume"), ("detection",), ("feedback",), KNOWN])
def test_only_commands_that_are_obeyed(allowed: tuple[str, ...]) -> None:
    """Each command topic belongs to an allowed command, and the command filter takes what is sent there."""
    sections = {**EVERYTHING, "commands": {"allow": allowed}}
    found = {}
    for component in components(**sections).values():
        if "command_topic" in component:
            payload = component.get("payload_press", component.get("payload_install", "OFF"))
            found[component["command_topic"].rpartition("/")[2]] = payload
            command = CommandFilter("gate-01", allowed, lambda: pytest.fail("no time is needed")).decide(
                Incoming(component["command_topic"], payload.encode()))
            assert isinstance(command, Command)
    assert set(found) == set(allowed) - {"feedback", "try", "collect"}
    assert ("snapshot" in components(**sections)) is ("snapshot" in allowed)


@pytest.mark.parametrize("sections", [{"update": {}}, {"detector": {"model": "/m.tflite"}}])
def test_no_way_to_install_what_cannot_come(sections: dict[str, Any]) -> None:
    """Without an update source, or with a pinned model, `update` would be refused."""
    found = components(**{**EVERYTHING, **sections})
    assert "command_topic" not in found["model"]
    assert "command/update" not in found


def test_without_events_there_are_none() -> None:
    """No tracks: no events, no zones, no pictures."""
    found = components(**{**EVERYTHING, "events": {"enabled": False, "pictures": True}})
    assert not [key for key in found if key.startswith(("zone-", "best/", "event"))]


@pytest.mark.parametrize(("sections", "labels"), [
    ({"homeassistant": {"labels": ["dog", "cat", "dog"]}, "events": {"labels": ["car"]}}, ("dog", "cat")),
    ({"events": {"labels": ["car"]}, "detector": {"allow": ["bus"]}}, ("car",)),
    ({"detector": {"allow": ["bus"]}}, ("bus",)),
    ({"detector": {"deny": ["b"]}}, ("a", "c")),
    ({}, ("a", "b", "c")),
])
def test_which_labels(sections: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Those that are chosen, else those of events, else those that are detected."""
    assert chosen_labels(Config.model_validate(sections), ("a", "b", "", "c", "a")) == (labels, 0)


def test_at_most_twenty_unless_more_are_chosen() -> None:
    """And how many were left out. In zones there are only labels that the configuration names."""
    eighty = tuple(f"label {number}" for number in range(80))
    labels, left_out = chosen_labels(Config(), eighty)
    assert (labels, left_out) == (eighty[:LABELS_MAX], 60)
    assert chosen_labels(Config.model_validate({"homeassistant": {"labels": eighty}}), ()) == (eighty, 0)
    zones = {"zones": EVERYTHING["zones"]}
    assert sum(key.startswith("zone-") for key in made(eighty, **zones)["components"]) == 4


@given(st.lists(st.text(st.characters(), min_size=1, max_size=300), min_size=1, max_size=5, unique=True))
def test_any_label_and_zone(labels: list[str]) -> None:
    """Strange names give a message that is JSON, keys without spaces, and each entity once."""
    config = Config.model_validate({"events": {"pictures": True}})
    config = config.model_copy(update={
        "homeassistant": config.homeassistant.model_copy(update={"labels": tuple(labels)}),
        "zones": dict.fromkeys(labels, Config.model_validate(EVERYTHING).zones["drive"])})
    message = json.loads(payloads.encode(discovery(config, "gate", labels, lambda label: True)))
    found = message["components"]
    assert len([key for key in found if key.startswith("label-")]) == 2 * len(labels)
    assert len([key for key in found if key.startswith("zone-")]) == 2 * len(labels) * (1 + len(labels))
    assert len({component["unique_id"] for component in found.values()}) == len(found)
    assert not [key for key in found if len(key.split()) != 1]
    assert all(topics.is_publishable(component["image_topic"]) for key, component in found.items()
               if key.startswith("best/"))
