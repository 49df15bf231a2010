"""The published description of the messages matches the code, and real messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vedette.cli import schemas
from vedette.messages import payloads, topics

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


def test_generated_docs_match_the_code() -> None:
    """Every generated file in docs/ is what the code writes now (`make docs`), and no schema is left over."""
    written = schemas.documents()
    for name, content in written.items():
        assert (DOCS / name).read_text(encoding="utf-8") == content, f"docs/{name}: run `make docs`"
    assert {f"schemas/{path.name}" for path in (DOCS / "schemas").iterdir()} == {
        name for name in written if name.startswith("schemas/")}


def test_a_row_of_a_table_is_one_line() -> None:
    """Whatever follows a table's head in topics.md is a row, to the next empty line."""
    page = (DOCS / "topics.md").read_text(encoding="utf-8")
    tables = [part.split("\n") for part in page.strip().split("\n\n") if part.startswith("|")]
    assert tables
    assert [line for table in tables for line in table if not (line.startswith("|") and line.endswith("|"))] == []


def test_every_schema_is_valid_and_announced() -> None:
    """Each schema is a valid JSON Schema with a description, and `info` announces exactly these ids."""
    found = schemas.json_schemas()
    for schema in found.values():
        Draft202012Validator.check_schema(schema)
        assert schema["description"]
    assert {schema["properties"]["schema"]["const"] for schema in found.values()} == set(payloads.SCHEMA_IDS)


def test_asyncapi_references_resolve(tmp_path: Path) -> None:
    """Every reference in the AsyncAPI document leads to something in it or to a file beside it."""
    schemas.write(tmp_path)
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    references = list(_references(document))
    assert references
    for reference in references:
        if reference.startswith("#/"):
            place: Any = document
            for key in reference.removeprefix("#/").split("/"):
                place = place[key]
        else:
            assert (tmp_path / reference).is_file()


def test_channels_are_distinct_and_known() -> None:
    """Each topic the device uses is described once, under a name of its own."""
    assert len({channel.name for channel in schemas.CHANNELS}) == len(schemas.CHANNELS)
    named = {channel.topic.split("/")[0] for channel in schemas.CHANNELS if not channel.topic.startswith("/")}
    assert named == {topics.AVAILABILITY, topics.INFO, topics.DETECTIONS, topics.EVENTS, topics.COUNTS, topics.ZONES,
                     topics.BEST, topics.CAMERA, topics.HEALTH, topics.MODEL, topics.SHADOW,
                     topics.SNAPSHOT, topics.COMMANDS, topics.REPLIES}


@pytest.mark.parametrize("name", ["detections-1", "health-1"])
def test_unknown_keys_are_allowed(name: str) -> None:
    """A consumer that validates accepts keys that later versions add."""
    assert schemas.json_schemas()[name].get("additionalProperties", True) is True


def _references(part: Any) -> Any:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)
