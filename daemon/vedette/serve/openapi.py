"""The OpenAPI 3.1 document of the server: served at /openapi.json, and published in docs/.

Invariants: shapes come from `wire`, routes from `service`; the same code always writes the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from vedette.messages.cloud_shapes import DEADLINE_HEADER, ErrorPayload, LookPayload, Yolov5Record
from vedette.serve.service import DETECT, DETECT_PLAIN, FORM, HEALTH, METRICS, OPENAPI, PICTURES, PLAIN_TEXT

_REFUSALS = {
    "400": "The body or its form is not what its head says.",
    "401": "No bearer token, or one that is not known.",
    "411": "The body has no Content-Length.",
    "413": "More bytes or pixels than are taken.",
    "415": "Another kind of content.",
    "422": "The content is no picture that can be decoded.",
    "500": "The detector could not look at this picture. Never answered as an empty result.",
    "503": "Busy, or busy for longer than the client waits; come back after `Retry-After` seconds.",
}
_PARAMETERS = [
    {"name": DEADLINE_HEADER, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 1},
     "description": "Milliseconds the client still waits; a picture whose turn comes later is not looked at."},
    {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"},
     "description": "Taken and not needed: looking changes nothing, so a repeated request is safe."},
]


def document() -> str:
    """Return the document as JSON text."""
    schemas: dict[str, Any] = {}
    picture = {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in PICTURES}
    form = {FORM: {"schema": {"type": "object", "required": ["image"], "properties": {
        "image": {"type": "string", "format": "binary"}}}}}
    look, records = _schema(LookPayload, schemas), _schema(list[Yolov5Record], schemas)
    error = _schema(ErrorPayload, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Vedette detection server", "version": "1", "license": {"name": "Apache-2.0"},
                 "description": "One picture in, what it shows out. `vedette serve` speaks this."},
        "paths": {
            DETECT: {"post": _looking("Look at a picture", picture, look, error)},
            f"{DETECT_PLAIN}{{model}}": {"post": {
                **_looking("The same in the dialect of a plain YOLOv5/Flask server", form, records, error),
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"},
                                "description": "Any name: the server has one model."}, *_PARAMETERS]}},
            HEALTH: {"get": _open("Whether it serves, and with which model", "application/json")},
            METRICS: {"get": {**_open("Counters for Prometheus", PLAIN_TEXT), "security": [{"token": []}]}},
            OPENAPI: {"get": _open("This document", "application/json")},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _looking(summary: str, content: dict[str, Any], answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary, "security": [{"token": []}], "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "What it shows; an empty list means that nothing was seen.",
                    "content": {"application/json": {"schema": answer}}},
            **{status: {"description": meaning, "content": {"application/json": {"schema": error}}}
               for status, meaning in _REFUSALS.items()},
        },
    }


def _open(summary: str, content_type: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": {
        content_type.partition(";")[0]: {}}}}}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a kind as a reference; what it refers to is added to `schemas`."""
    # A TypedDict takes no configuration of its own here, but inherits that of a list around it.
    listed = TypeAdapter(list[kind], config=ConfigDict(use_attribute_docstrings=True)).json_schema(
        ref_template="#/components/schemas/{model}")
    schemas.update(listed.pop("$defs"))
    items: dict[str, Any] = listed["items"]
    return items
