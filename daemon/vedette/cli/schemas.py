"""Writes the published description of what a subscriber sees: `python -m vedette.cli.schemas docs`.

The schema of what `vedette camera list --json` prints is written as well.

Invariants: everything comes from these models and the table of channels below; the same code always writes the
same bytes; a test checks that docs/ has what the code writes; no line of topics.md is longer than 120 columns.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from vedette.cli.camera.shapes import CameraList
from vedette.messages import event_shapes, health_shapes, shapes, topics
from vedette.messages.discovery import discovery_topic
from vedette.serve import openapi

_WIDTH = 120
_LISTED_MAX = 20
"""A sentence with more values than this is not readable; the schema has them all."""
_INTRODUCTION = (
    "`make docs` writes this page from the code; do not edit it. [asyncapi.json](asyncapi.json) has the same for "
    "programs, and [schemas/](schemas) has one JSON Schema for each message. Later versions may add keys. Ignore the "
    "keys that you do not know. A [glossary](operations.md#glossary) explains the words of Vedette.")
_REPEATS = (
    "If an acknowledgement is lost, a message arrives twice. A result or an event that you already have has "
    "the same `(device, run, seq)`: drop it. For the other messages a repeat does no harm.")


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic and its messages. `topic` is relative to the device's base; with a leading slash it is absolute."""

    topic: str
    qos: int
    retain: bool
    summary: str
    payload: type | None = None
    content_type: str = "application/json"
    incoming: bool = False

    @property
    def address(self) -> str:
        """The topic with a placeholder for the device."""
        return topics.absolute("{device}", self.topic)

    @property
    def name(self) -> str:
        """The channel's key in documents: the topic without its placeholder."""
        return self.topic.removeprefix(f"/{topics.ROOT}/").partition("/{")[0].strip("/").replace("/", "-")


CHANNELS = (
    Channel(topics.AVAILABILITY, 1, True,
            "`online` or `offline`. The device publishes it at every connect. The broker publishes `offline` when it "
            "loses the device (last will).",
            content_type="text/plain"),
    Channel(topics.INFO, 1, True, "What this device is, and which messages it uses.", shapes.InfoPayload),
    Channel(topics.DETECTIONS, 1, False, "One result, as often as `publish.results` says.", shapes.DetectionsPayload),
    Channel(topics.EVENTS, 1, False,
            "What happens to one thing: it comes, something about it changes, it goes. [events.md](events.md) explains "
            "it.", event_shapes.EventPayload),
    Channel(topics.COUNTS, 1, True, "How many objects of each label are in view. It is published on every change.",
            shapes.CountsPayload),
    Channel(topics.ZONES, 1, True, "What is in each zone. It is published on every change.", event_shapes.ZonesPayload),
    Channel(f"{topics.BEST}/{{label}}", 1, True,
            "The best picture of the newest event with this label, if `events.pictures` says so. A label's special "
            "characters are escaped; see [events.md](events.md#best-pictures).", content_type="image/jpeg"),
    Channel(topics.CAMERA, 1, True, "What the camera does. It is published on every change.", shapes.CameraPayload),
    Channel(topics.HEALTH, 1, True,
            "The device's health. It is published on every change, and every `health.interval_s`.",
            health_shapes.HealthPayload),
    Channel(topics.MODEL, 1, True, "Which model runs, and the state of an update.", shapes.ModelPayload),
    Channel(topics.SHADOW, 0, False,
            "What a new model and the active model detect in the same frame. It is published only if the release asks "
            "for it.", shapes.ShadowPayload),
    Channel(topics.SNAPSHOT, 0, False, "The answer to the command `snapshot`: one frame, with the masks applied.",
            content_type="image/jpeg"),
    Channel(f"{topics.REPLIES}/{{command}}", 1, False, "The answer to a command.", shapes.ReplyPayload),
    Channel("/" + discovery_topic("homeassistant", "{device}"), 1, True,
            "The device and its entities for Home Assistant, if `homeassistant.enabled` says so. The first level is "
            "`homeassistant.prefix`. [home-assistant.md](home-assistant.md) explains it."),
    Channel(f"{topics.COMMANDS}/{{command}}", 1, False,
            "A command: `update`, `rollback`, `snapshot`, `pause`, `resume`, `restart`, `feedback`, `relearn`, "
            "`detection`, `try` or `collect`. The device obeys only commands that `commands.allow` lists. The payload "
            "is empty or a JSON object. The object may have `transaction`: the device ignores a second command with "
            "the same value. The object may have `expires_at`: the device ignores the command after that time. "
            "`feedback` takes `run`, `seq`, `right` and, if you want, `label`. `right` says whether that result was "
            "right. `relearn` takes `what`: `scores`, `picture` or `all`. The device then accepts the present state "
            "as right. `detection` takes `ON` or `OFF`, bare or as `state` in an object. `OFF` pauses detection until "
            "`ON` or `resume` comes, also over restarts. `try` takes keys of the configuration, nested as in the "
            "file, and applies them until the next reload or start; see "
            "[socket.md](socket.md#trying-a-configuration). `collect` takes `what`: `start`, `stop` or `clear`, for "
            "the pictures of the camera itself. The device refuses it unless its configuration has `collect.enabled`; "
            "see [workshop.md](workshop.md#pictures-from-the-camera-itself).",
            incoming=True),
    Channel(f"/{topics.FLEET_UPDATE}", 1, False,
            "The command `update` for every device. Use it in small fleets only.", incoming=True),
    Channel(f"/{topics.HOME_ASSISTANT_STATUS}", 0, False,
            "Home Assistant's birth message, if `homeassistant.enabled` is true. After `online` the device announces "
            "itself again.", content_type="text/plain", incoming=True),
)


def documents() -> dict[str, str]:
    """Return every generated file: path below docs/ to content."""
    schemas = json_schemas()
    return {
        **{f"schemas/{name}.json": _json(schema) for name, schema in schemas.items()},
        "schemas/cameras-1.json": _json(_schema_of(CameraList)),
        "asyncapi.json": _json(_asyncapi(schemas)),
        "openapi.json": openapi.document(),
        "topics.md": _topics_page(schemas),
    }


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return one JSON Schema (2020-12) for each kind of message, by the name in its schema id: `detections-1`."""
    schemas = {}
    for channel in CHANNELS:
        if channel.payload is not None:
            schema = _schema_of(channel.payload)
            schema_id = schema["properties"]["schema"]["const"]
            schemas[schema_id.removeprefix("vedette.").replace("/", "-")] = schema
    return schemas


def _schema_of(payload: type) -> dict[str, Any]:
    # A TypedDict has no configuration of its own here. It inherits that of the list around it.
    listed = TypeAdapter(list[payload], config=ConfigDict(use_attribute_docstrings=True)).json_schema()  # type: ignore[valid-type]
    parts = {name: _without_titles(part) for name, part in listed["$defs"].items()}
    whole = parts.pop(payload.__name__)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **whole, **({"$defs": parts} if parts else {})}


def _without_titles(part: dict[str, Any]) -> dict[str, Any]:
    """Return the part without titles that only repeat a key's name."""
    properties = {key: {name: value for name, value in described.items() if name != "title"}
                  for key, described in part.get("properties", {}).items()}
    return {**part, "properties": properties} if properties else part


def _asyncapi(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Vedette", "version": "1", "license": {"name": "Apache-2.0"},
                 "description": "What a Vedette device publishes, and the commands it obeys, over MQTT 5 or 3.1.1."},
        "defaultContentType": "application/json",
        "channels": {channel.name: _asyncapi_channel(channel) for channel in CHANNELS},
        "operations": {f"{'obey' if channel.incoming else 'publish'}-{channel.name}": {
            "action": "receive" if channel.incoming else "send",
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}},
        } for channel in CHANNELS},
        "components": {"messages": {
            name: {"name": schema["properties"]["schema"]["const"], "summary": schema["description"],
                   "payload": {"$ref": f"./schemas/{name}.json"}}
            for name, schema in schemas.items()}},
    }


def _asyncapi_channel(channel: Channel) -> dict[str, Any]:
    placeholders = [level[1:-1] for level in channel.address.split("/") if level.startswith("{")]
    message = ({"contentType": channel.content_type} if channel.payload is None
               else {"$ref": f"#/components/messages/{_name_of(channel.payload)}"})
    described: dict[str, Any] = {"address": channel.address, "description": channel.summary,
                                 "messages": {channel.name: message}}
    if placeholders:
        described["parameters"] = {name: {} for name in placeholders}
    return described


def _name_of(payload: type) -> str:
    return next(name for name, schema in json_schemas().items() if schema["title"] == payload.__name__)


def _topics_page(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["# What a subscriber receives", "", *_wrapped(_INTRODUCTION), "",
             *_wrapped(_REPEATS), "",
             "| topic | retained | QoS | payload |", "|---|---|--:|---|"]
    lines += [f"| `{channel.address}` | {'yes' if channel.retain else ''} | {channel.qos} | {_payload_cell(channel)} |"
              for channel in CHANNELS]
    lines += ["", "What a device publishes:", "", *_summaries(incoming=False)]
    lines += ["", "What a device receives:", "", *_summaries(incoming=True)]
    for name, schema in schemas.items():
        head = f"`{schema['properties']['schema']['const']}`. {schema['description']}"
        lines += ["", f"## {name}", "", *_wrapped(head), "", *_keys(schema)]
        for part, described in schema.get("$defs", {}).items():
            if "properties" in described:
                lines += ["", *_wrapped(f"**{part}**: {described['description']}"), "", *_keys(described)]
    return "\n".join(lines) + "\n"


def _payload_cell(channel: Channel) -> str:
    if channel.payload is None:
        return channel.content_type
    name = _name_of(channel.payload)
    return f"[{name}](#{name})"


def _summaries(*, incoming: bool) -> list[str]:
    return [line for channel in CHANNELS if channel.incoming == incoming
            for line in _item(f"`{channel.address}`: {channel.summary}")]


def _keys(schema: Mapping[str, Any]) -> list[str]:
    return [line for key, described in schema["properties"].items() if key != "schema"
            for line in _item(f"`{key}` ({_type_name(described)}){_explained(described)}")]


def _explained(described: Mapping[str, Any]) -> str:
    text = described.get("description", "")
    return f": {text}" if text else ""


def _item(text: str) -> list[str]:
    return _wrapped(f"- {text}", indent="  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _type_name(described: Mapping[str, Any]) -> str:
    if "$ref" in described:
        return str(described["$ref"].split("/")[-1])
    if "anyOf" in described:
        return " or ".join(_type_name(one) for one in described["anyOf"])
    if "enum" in described:
        values = described["enum"]
        return ", ".join(f"`{value}`" for value in values) if len(values) <= _LISTED_MAX else "string"
    if described.get("type") == "array":
        return f"array of {_type_name(described['items'])}"
    if isinstance(described.get("additionalProperties"), Mapping):
        return f"object of {_type_name(described['additionalProperties']) or 'anything'}"
    return str(described.get("type", ""))


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write every generated file below `folder`."""
    for name, content in documents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
