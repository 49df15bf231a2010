"""The message that announces a device and its entities to Home Assistant (MQTT device discovery).

Invariants:
- An entity shows what a message says, and nothing else. What is null there is *unknown*, never 0 and never off.
- A key of a component never changes: Home Assistant knows an entity by its key and the device, also after a restart.
- Keys have no space: Home Assistant splits them there when it removes a device.
- No null and no unknown key reaches the `update` entity, which would refuse the whole message.
- There is a button, a switch or a way to install only for a command that the device obeys.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from vedette import __version__
from vedette.messages import topics
from vedette.types import CameraState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vedette.config.models import Config

    Component = dict[str, Any]

LABELS_MAX = 20
"""Labels that get entities where `homeassistant.labels` names none."""
_NAME_CHARS = 60
_BUTTONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "snapshot": ("Take a snapshot", {"icon": "mdi:camera"}),
    "pause": ("Pause for an hour", {"icon": "mdi:pause"}),
    "resume": ("Resume", {"icon": "mdi:play"}),
    "update": ("Look for a new model", {"entity_category": "config", "icon": "mdi:cloud-search"}),
    "rollback": ("Go back to the previous model", {"entity_category": "config", "icon": "mdi:undo"}),
    "relearn": ("Accept the present state as right", {"entity_category": "config", "icon": "mdi:school"}),
    "restart": ("Restart", {"entity_category": "config", "device_class": "restart"}),
}
"""Commands that need no argument: name and options of the button."""
_EVENT_KEYS = ("id", "episode", "label", "began", "ended", "interrupted", "top_score", "zones", "entered", "left",
               "loitering", "crossed", "stationary")
_UPDATE_KEYS = ("title", "installed_version", "latest_version", "in_progress", "update_percentage")


def discovery_topic(prefix: str, device: str) -> str:
    """Return the absolute topic of the message."""
    return f"{prefix}/device/{device}/config"


def chosen_labels(config: Config, of_model: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return the labels that get entities, and how many others were left out; `of_model`: the running model's."""
    if config.homeassistant.labels:
        return tuple(dict.fromkeys(config.homeassistant.labels)), 0
    known = config.event_labels or of_model
    labels = tuple(dict.fromkeys(label for label in known if label and label not in config.detector.deny))
    return labels[:LABELS_MAX], len(labels[LABELS_MAX:])


def discovery(config: Config, device: str, labels: Sequence[str],
              wants_picture: Callable[[str], bool]) -> dict[str, Any]:
    """Return the message. `wants_picture`: whether events of a label have one."""
    components = _of_labels(labels) | _of_the_device() | _of_commands(config)
    if config.events.enabled:
        components |= _of_zones(config, labels) | _of_events(labels, wants_picture)
    base = topics.base(device)
    for key, component in components.items():
        component["unique_id"] = f"vedette_{device}_{key}"
        component |= {name: f"{base}/{value}" for name, value in component.items() if name.endswith("_topic")}
    return {
        "device": {"identifiers": [f"vedette_{device}"], "name": f"Vedette {device}", "manufacturer": "Vedette",
                   "sw_version": __version__},
        "origin": {"name": "Vedette", "sw_version": __version__},
        "availability_topic": f"{base}/{topics.AVAILABILITY}",
        "components": components,
    }


def _of_labels(labels: Sequence[str]) -> dict[str, Component]:
    found: dict[str, Component] = {}
    for label in labels:
        number = f"value_json.counts.get({_text(label)}, 0)"
        found |= _counted(f"label-{_level(label)}", _name(label), topics.COUNTS, number, "value_json.counts is mapping")
    return found


def _of_zones(config: Config, labels: Sequence[str]) -> dict[str, Component]:
    """Return a number and the occupancy of each zone, and of each label in it if the configuration names labels."""
    stated = labels if config.homeassistant.labels or config.event_labels else ()
    found: dict[str, Component] = {}
    for zone, settings in config.zones.items():
        here = f"value_json.zones[{_text(zone)}]"
        known = f"value_json.zones is mapping and {_text(zone)} in value_json.zones"
        key = f"zone-{_level(zone)}"
        found |= _counted(key, _name(zone), topics.ZONES, f"{here}.values() | sum", known)
        for label in stated:
            if (not settings.labels or label in settings.labels) and config.makes_events(label):
                found |= _counted(f"{key}/{_level(label)}", f"{_name(zone)} {_name(label).lower()}", topics.ZONES,
                                  f"{here}.get({_text(label)}, 0)", known)
    return found


def _counted(key: str, name: str, topic: str, number: str, known: str) -> dict[str, Component]:
    """Return a sensor and a binary sensor of a number. `known`: the test of whether it is known at all."""
    return {
        f"{key}/count": _sensor(f"{name} count", topic, f"{{{{ ({number}) if {known} else none }}}}",
                                state_class="measurement", icon="mdi:counter"),
        f"{key}/occupancy": {
            "platform": "binary_sensor", "name": f"{name} occupancy", "device_class": "occupancy",
            "state_topic": topic,
            "value_template": f"{{{{ ('ON' if ({number}) else 'OFF') if {known} else none }}}}"},
    }


def _of_events(labels: Sequence[str], wants_picture: Callable[[str], bool]) -> dict[str, Component]:
    """Return the events, and the best picture of each label. A late event is no event now, so it is left out."""
    keys = f"value_json.items() | selectattr(0, 'in', {list(_EVENT_KEYS)})"
    event: Component = {
        "platform": "event", "name": "Event", "event_types": ["start", "update", "end"], "state_topic": topics.EVENTS,
        "value_template": f"{{% if not value_json.backfilled %}}"
                          f"{{{{ dict({keys}, event_type=value_json.type) | to_json }}}}{{% endif %}}"}
    return {"event": event} | {
        f"best/{_level(label)}": _image(f"{_name(label)} best picture", f"{topics.BEST}/{topics.topic_level(label)}")
        for label in labels if wants_picture(label)}


def _of_the_device() -> dict[str, Component]:
    age, board = "value_json.capture.age_ms", "value_json.board"
    return {
        "problem": {
            "platform": "binary_sensor", "name": "Problem", "device_class": "problem", "state_topic": topics.HEALTH,
            "entity_category": "diagnostic",
            "value_template": "{{ 'OFF' if value_json.state == 'ok' else 'ON' }}",
            "json_attributes_topic": topics.HEALTH,
            "json_attributes_template": "{{ {'state': value_json.state, 'reasons': value_json.reasons} | to_json }}"},
        "camera": _sensor("Camera", topics.CAMERA, "{{ value_json.state }}", device_class="enum",
                          options=list(get_args(CameraState)), entity_category="diagnostic", icon="mdi:cctv"),
        "rate": _sensor("Frame rate", topics.HEALTH, "{{ value_json.capture.fps }}", unit_of_measurement="fps",
                        state_class="measurement", entity_category="diagnostic", icon="mdi:speedometer"),
        "age": _sensor("Age of results", topics.HEALTH, f"{{{{ {age}.p50 if {age} is mapping else none }}}}",
                       device_class="duration", unit_of_measurement="ms", state_class="measurement",
                       entity_category="diagnostic"),
        "temperature": _sensor("Temperature", topics.HEALTH,
                               f"{{{{ {board}.temperature_c if {board} is mapping else none }}}}",
                               device_class="temperature", unit_of_measurement="°C", state_class="measurement",
                               entity_category="diagnostic"),
    }


def _of_commands(config: Config) -> dict[str, Component]:
    allowed = set(config.commands.allow)
    if config.update.source is None or config.detector.model is not None:
        allowed.discard("update")       # it would be refused
    model: Component = {
        "platform": "update", "name": "Model", "state_topic": topics.MODEL, "entity_category": "diagnostic",
        "value_template": f"{{{{ dict(value_json.items() | selectattr(0, 'in', {list(_UPDATE_KEYS)})"
                          f" | rejectattr(1, 'none')) | to_json }}}}"}
    if "update" in allowed:
        model |= {"command_topic": _command("update"), "payload_install": "{}"}
    found = {"model": model}
    if "snapshot" in allowed:
        found["snapshot"] = _image("Snapshot", topics.SNAPSHOT)
    if "detection" in allowed:
        found["detection"] = {
            "platform": "switch", "name": "Looking", "command_topic": _command("detection"), "icon": "mdi:eye",
            "state_topic": topics.HEALTH,
            "value_template": "{{ 'OFF' if 'paused' in value_json.reasons | map(attribute='code') else 'ON' }}"}
    return found | {
        f"command/{command}": {"platform": "button", "name": name, "command_topic": _command(command),
                               "payload_press": "{}", **options}
        for command, (name, options) in _BUTTONS.items() if command in allowed}


def _sensor(name: str, topic: str, template: str, **options: object) -> Component:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": template, **options}


def _image(name: str, topic: str) -> Component:
    return {"platform": "image", "name": name, "image_topic": topic, "content_type": "image/jpeg"}


def _command(name: str) -> str:
    return f"{topics.COMMANDS}/{name}"


def _text(value: str) -> str:
    """Return a text as a template has it."""
    return json.dumps(value, ensure_ascii=False)


def _level(name: str) -> str:
    """Return a part of a key: another one for each name, and without a space."""
    return quote(topics.topic_level(name), safe="%")


def _name(label: str) -> str:
    return label[:1].upper() + label[1:_NAME_CHARS]
