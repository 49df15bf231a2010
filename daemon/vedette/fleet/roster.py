"""The state of each device of a fleet, from its published messages.

Invariants: free of I/O; a message of another shape changes only the values that it contains; the number of devices and
the length of every text are bounded, since anybody may write to a badly protected broker.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vedette.messages import topics

FOLLOWED: Final = (topics.AVAILABILITY, topics.MODEL, topics.HEALTH)
DEVICES_MAX: Final = 100_000
_TEXT_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One device. `invoke_ms`: the interpreter's median; None: the device has not published it."""

    device: str
    online: bool | None = None
    model: str | None = None
    version: str | None = None
    release: int | None = None
    variant: str | None = None
    state: str | None = None
    percentage: float | None = None
    outcome: str | None = None
    health: str | None = None
    reasons: tuple[str, ...] = ()
    fps: float | None = None
    invoke_ms: float | None = None

    def without_figures(self) -> Row:
        """Return the row without its figures: a change of the rest is news."""
        return replace(self, percentage=None, fps=None, invoke_ms=None)


class Roster:
    """Every device that has published."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def update(self, topic: str, payload: Any) -> Row | None:
        """Take a parsed message; `topic` is absolute. Returns the device's row if it has news."""
        device, _, name = topic.removeprefix(f"{topics.ROOT}/").partition("/")
        old = self._rows.get(device, Row(device))
        new = _after(old, name, payload)
        if device not in self._rows and len(self._rows) >= DEVICES_MAX:
            return None
        self._rows[device] = new
        return new if new.without_figures() != old.without_figures() else None

    def rows(self) -> list[Row]:
        """Return every device, by name."""
        return [self._rows[device] for device in sorted(self._rows)]

    def summary(self) -> str:
        """Return a line of counts: devices, those online, and those by model and by state."""
        rows = self._rows.values()
        models = Counter(f"{row.model} {row.version or ''}".rstrip() for row in rows if row.model)
        states = Counter(row.state for row in rows if row.state)
        parts = [f"{len(rows)} devices, {sum(row.online is True for row in rows)} online",
                 *(", ".join(f"{name}: {count}" for name, count in counts.most_common(5))
                   for counts in (models, states) if counts)]
        return "; ".join(parts)


def _after(row: Row, topic: str, payload: Any) -> Row:
    match topic, payload:
        case topics.AVAILABILITY, "online" | "offline":
            return replace(row, online=payload == "online")
        case topics.MODEL, {"state": _}:
            return replace(row, model=_text(payload, "title"), version=_text(payload, "installed_version"),
                           release=_whole(payload, "release"), variant=_text(payload, "variant"),
                           state=_text(payload, "state"), percentage=_number(payload, "update_percentage"),
                           outcome=_text(payload, "last_outcome"))
        case topics.HEALTH, {"state": _}:
            return replace(row, health=_text(payload, "state"), reasons=tuple(_codes(payload.get("reasons"))),
                           fps=_number(_inside(payload, "capture"), "fps"),
                           invoke_ms=_number(_inside(payload, "inference", "timing_ms", "invoke"), "p50"))
        case _:
            return row


def _inside(payload: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        payload = payload.get(key) if isinstance(payload, dict) else None
    return payload if isinstance(payload, dict) else {}


def _text(payload: Mapping[str, Any], key: str) -> str | None:
    value = payload.get(key)
    return value[:_TEXT_MAX] if isinstance(value, str) else None


def _number(payload: Mapping[str, Any], key: str) -> float | None:
    value = payload.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _whole(payload: Mapping[str, Any], key: str) -> int | None:
    value = payload.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _codes(reasons: Any) -> Iterator[str]:
    for reason in reasons[:20] if isinstance(reasons, list) else ():
        if isinstance(reason, dict) and (code := _text(reason, "code")):
            yield code
