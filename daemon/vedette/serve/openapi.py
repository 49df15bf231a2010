"""The server's OpenAPI 3.1 document. The server gives it at /openapi.json; `make docs` writes it to docs/.

Invariants: shapes come from `cloud_shapes`, routes from `service`; the same code always writes the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from vedette.messages.cloud_shapes import (
    DEADLINE_HEADER,
    DeepStackErrorPayload,
    DeepStackModels,
    DeepStackPayload,
    ErrorPayload,
    LookPayload,
    Yolov5Record,
)
from vedette.serve import deepstack
from vedette.serve.exposition import CONTENT_TYPE
from vedette.serve.service import (
    DETECT,
    DETECT_PLAIN,
    FORM,
    HEALTH,
    IMAGE_TYPES,
    KEY_FORMS,
    METRICS,
    OPENAPI,
)

_REFUSALS = {
    "400": "The body or its form does not match its head.",
    "401": "There is no bearer token or key, or it is not known.",
    "411": "The body has no Content-Length.",
    "413": "There are more bytes or pixels than the server accepts.",
    "415": "The server does not accept this content type.",
    "422": "The content is not an image that can be decoded.",
    "500": "The detector failed on this image. The answer is never an empty result instead.",
    "503": "The server is busy, or stays busy for longer than the client waits. Try again after `Retry-After` seconds.",
}
_PARAMETERS = [
    {"name": DEADLINE_HEADER, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 1},
     "description": "How many milliseconds the client still waits. The server skips an image whose turn comes later."},
    {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"},
     "description": "Accepted and not needed. Detection changes nothing, so a repeated request is safe."},
]
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"},
          "description": "Any name. The server has one model."}
_KEYED = {"security": [{"token": []}, {}],
          "description": "A client without a bearer token has the key in the field `api_key`, or an address that the "
                         "server allows."}


def document() -> str:
    """Return the document as JSON text."""
    schemas: dict[str, Any] = {}
    image = {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in IMAGE_TYPES}
    form, deepstack_form = _form({}), _form({
        "min_confidence": {"type": "number", "minimum": 0, "maximum": 1, "default": 0}, "api_key": {"type": "string"}})
    key = {kind: {"schema": {"type": "object", "properties": {"api_key": {"type": "string"}}}}
           for kind in KEY_FORMS}
    answer, records = _schema(LookPayload, schemas), _schema(list[Yolov5Record], schemas)
    found, models = _schema(DeepStackPayload, schemas), _schema(DeepStackModels, schemas)
    error, deepstack_error = _schema(ErrorPayload, schemas), _schema(DeepStackErrorPayload, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Vedette detection server", "version": "1", "license": {"name": "Apache-2.0"},
                 "description": "`vedette serve` takes one image and returns its detections."},
        "paths": {
            DETECT: {"post": _detecting("Detect objects in an image", image, answer, error)},
            f"{DETECT_PLAIN}{{model}}": {"post": {
                **_detecting("The same in the dialect of a plain YOLOv5/Flask server", form, records, error),
                "parameters": [_MODEL, *_PARAMETERS]}},
            deepstack.DETECT: {"post": {
                **_detecting("The same in the dialect of DeepStack and CodeProject.AI", deepstack_form, found,
                             deepstack_error), **_KEYED}},
            f"{deepstack.CUSTOM}{{model}}": {"post": {
                **_detecting("The same for clients that name a model", deepstack_form, found, deepstack_error),
                "parameters": [_MODEL, *_PARAMETERS], **_KEYED}},
            deepstack.MODELS: {"post": {
                **_detecting("The name of the model, for the same clients", key, models, deepstack_error),
                "parameters": [], **_KEYED, "requestBody": {"required": False, "content": key}}},
            HEALTH: {"get": _open("Whether the server is up, and with which model", "application/json")},
            METRICS: {"get": {**_open("Counters for Prometheus", CONTENT_TYPE), "security": [{"token": []}]}},
            OPENAPI: {"get": _open("This document", "application/json")},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _detecting(summary: str, content: dict[str, Any], answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary, "security": [{"token": []}], "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The detections. An empty list means that there are none.",
                    "content": {"application/json": {"schema": answer}}},
            **{status: {"description": meaning, "content": {"application/json": {"schema": error}}}
               for status, meaning in _REFUSALS.items()},
        },
    }


def _form(more: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a form with an image and `more` fields."""
    return {FORM: {"schema": {"type": "object", "required": ["image"], "properties": {
        "image": {"type": "string", "format": "binary"}, **more}}}}


def _open(summary: str, content_type: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": {
        content_type.partition(";")[0]: {}}}}}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a reference to the schema of a kind, and add the schemas that it needs to `schemas`."""
    # A TypedDict has no configuration of its own here. It inherits that of the list around it.
    listed = TypeAdapter(list[kind], config=ConfigDict(use_attribute_docstrings=True)).json_schema(
        ref_template="#/components/schemas/{model}")
    schemas.update(listed.pop("$defs"))
    items: dict[str, Any] = listed["items"]
    return items
