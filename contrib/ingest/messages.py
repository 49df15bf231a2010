"""What a message on the topics of a device says, as a row of a table.

Invariants: a message is a row only of the device whose topic it came on; the same bytes always make the same row;
nothing here reads a clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn

Table = Literal["results", "events"]
TOPICS: dict[str, tuple[Table, str]] = {
    "detections": ("results", "vedette.detections/1"),
    "events": ("events", "vedette.events/1"),
}
"""Last level of a topic -> the table, and the schema of the messages there."""
DEVICE_BYTES = 250
LARGEST = 2**63 - 1
"""Of PostgreSQL's bigint."""


class Unreadable(ValueError):
    """A message that is no result and no event of its device."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `at`: when the frame was captured, or the event began; None where the device does not say."""

    table: Table
    device: str
    run: int
    seq: int
    at: datetime | None
    message: str

    @property
    def key(self) -> tuple[str, int, int]:
        """What a repeat has in common with the first."""
        return self.device, self.run, self.seq


def read(topic: str, payload: bytes) -> Row:
    """Return the row of a message. Raises: Unreadable."""
    _, device, kind = topic.rsplit("/", 2) if topic.count("/") >= 2 else ("", "", "")
    if kind not in TOPICS or not 0 < len(device.encode()) <= DEVICE_BYTES:
        raise Unreadable("the topic is not one of a device")
    table, schema = TOPICS[kind]
    try:
        text = payload.decode("utf-8")
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    if not isinstance(message, dict) or message.get("schema") != schema:
        raise Unreadable(f"not of the schema {schema}")
    if message.get("device") != device:
        raise Unreadable("the message names another device than its topic")
    return Row(table, device, _number(message, "run"), _number(message, "seq"), _moment(table, message), text)


def _number(message: dict[str, Any], key: str) -> int:
    value = message.get(key)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise Unreadable(f"{key}: expected a number from 0")
    return value


def _moment(table: Table, message: dict[str, Any]) -> datetime | None:
    frame = message.get("frame") if table == "results" else {"captured_at": message.get("began")}
    value = frame.get("captured_at") if isinstance(frame, dict) else ""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"expected a time, found {value!r}") from error
    if moment.tzinfo is None:
        raise Unreadable(f"expected a time with a time zone, found {value!r}")
    return moment


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
