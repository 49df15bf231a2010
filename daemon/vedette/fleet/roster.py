"""The state of each device of a fleet, from its published messages.

Invariants: free of I/O; a message of another shape changes only the values that it contains; the number of devices and
the length of every text are bounded, since anybody may write to a badly protected broker.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeGuard

from vedette.health.reasons import REASONS
from vedette.messages import topics
from vedette.types import Receiver

FOLLOWED: Final = (topics.AVAILABILITY, topics.MODEL, topics.HEALTH)
DEVICES_MAX: Final = 100_000
_TEXT_MAX: Final = 80
_LABEL_MAX: Final = 100
_TAGS_MAX: Final = 20
_KINDS_MAX: Final = 100
OTHER: Final = "other"
"""The rare kinds together, where there are too many."""


@dataclass(frozen=True, slots=True)
class ConfigurationRow:
    """The signed configuration of one device, as `Row` has the model."""

    state: str | None = None
    release: int | None = None
    failed: str | None = None
    last_release: int | None = None
    last_sha256: str | None = None
    last_ok: bool | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One device. `invoke_ms`: the interpreter's median; None: the device has not published it.

    `failed`: the code of its last update, if that failed. `health_at`: the time of its newest health, by its own clock.
    `last_release`, `last_sha256`, `last_ok`: of its last update. Those of its signed configuration are in
    `configuration`. `receiver`: which releases it takes.
    """

    device: str
    online: bool | None = None
    model: str | None = None
    version: str | None = None
    release: int | None = None
    variant: str | None = None
    state: str | None = None
    percentage: float | None = None
    outcome: str | None = None
    failed: str | None = None
    health: str | None = None
    reasons: tuple[str, ...] = ()
    fps: float | None = None
    invoke_ms: float | None = None
    health_at: str | None = None
    last_release: int | None = None
    last_sha256: str | None = None
    last_ok: bool | None = None
    receiver: Receiver | None = None
    configuration: ConfigurationRow = ConfigurationRow()

    @property
    def news(self) -> tuple[object, ...]:
        """The values whose change is news: all but figures."""
        return (self.online, self.model, self.version, self.release, self.variant, self.state, self.outcome,
                self.failed, self.health, self.reasons, self.receiver, self.configuration)

    def lacks(self, topic: str) -> bool:
        """Return whether the device has not published on one of the topics that are followed."""
        return {topics.AVAILABILITY: self.online, topics.MODEL: self.state, topics.HEALTH: self.health}[topic] is None

    @property
    def failure(self) -> str | None:
        """The code of what failed: the last update, or else the health. None: nothing did."""
        if self.failed is None and "update_failed" in self.reasons:
            return "update_failed"
        return self.failed or self.health_failure

    @property
    def health_failure(self) -> str | None:
        """The code of what keeps the device from detecting. None: its health is not failed."""
        if self.health != "failed":
            return None
        severe = [code for code in self.reasons if code not in REASONS or REASONS[code].state == "failed"]
        return next(iter(severe or self.reasons), "failed")

    def is_silent(self, now: datetime, after: timedelta) -> bool:
        """Return whether the device says nothing: offline, without model and health, or with a health of another time.

        A health of the future would be news for ever, so it is as silent as an old one.
        """
        if self.online is not True or (self.state is None and self.health is None):
            return True
        at = None if "clock_unsynced" in self.reasons else _moment(self.health_at)
        return at is not None and abs(now - at) > after


@dataclass(frozen=True, slots=True)
class Summary:
    """How many devices there are, of each kind. `failed` is by code, and each device counts at most once in it."""

    devices: int
    online: int
    models: dict[str, int]
    states: dict[str, int]
    failed: dict[str, int]
    silent: int


def devices(count: int) -> str:
    """Return so many devices in words."""
    return f"{count} device{'' if count == 1 else 's'}"


def some(names: Sequence[str], most: int) -> str:
    """Return the first names in words."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


class Roster:
    """Every device that has published. `only`: these devices, whether or not they have, and no others."""

    def __init__(self, only: Iterable[str] | None = None) -> None:
        self._rows = {device: Row(device) for device in only or ()}
        self._has_room = only is None

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, topic: str, payload: Any) -> Row | None:
        """Take a parsed message; `topic` is absolute. Returns the device's row if it has news."""
        device, _, name = topic.removeprefix(f"{topics.ROOT}/").partition("/")
        if len(device) > _TEXT_MAX:
            return None
        old = self._rows.get(device, Row(device))
        new = _after(old, name, payload)
        if device not in self._rows and not (self._has_room and len(self._rows) < DEVICES_MAX):
            return None
        self._rows[device] = new
        return new if new.news != old.news else None

    def rows(self) -> list[Row]:
        """Return every device, by name."""
        return [self._rows[device] for device in sorted(self._rows)]

    @property
    def is_full(self) -> bool:
        """Whether there may be more devices than it can hold."""
        return self._has_room and len(self._rows) >= DEVICES_MAX

    def lacking(self, topic: str) -> list[str]:
        """Return the devices that have not published on one of the topics that are followed, by name."""
        return sorted(row.device for row in self._rows.values() if row.lacks(topic))

    def counted(self, now: datetime, silent_after: timedelta) -> Summary:
        """Return the counts. A device without news for longer than `silent_after` is silent."""
        rows = self._rows.values()
        return Summary(
            len(rows), sum(row.online is True for row in rows), kinds(_model(row) for row in rows),
            kinds(row.state for row in rows), kinds(row.failure for row in rows),
            sum(row.is_silent(now, silent_after) for row in rows))

    def reasons(self) -> dict[str, int]:
        """Return how many devices have each reason in their health."""
        return kinds(code for row in self._rows.values() for code in set(row.reasons))

    def longest_silent(self, now: datetime, after: timedelta) -> Row | None:
        """Return the silent device with the oldest health. None: no silent device has published its health."""
        silent = [(at, row.device) for row in self._rows.values()
                  if (at := _moment(row.health_at)) is not None and row.is_silent(now, after)]
        return self._rows[min(silent)[1]] if silent else None

    def summary(self) -> str:
        """Return a line of counts: devices, those online, and those by model and by state."""
        rows = self._rows.values()
        models = Counter(filter(None, map(_model, rows)))
        states = Counter(row.state for row in rows if row.state)
        parts = [f"{devices(len(rows))}, {sum(row.online is True for row in rows)} online",
                 *(", ".join(f"{name}: {count}" for name, count in counts.most_common(5))
                   for counts in (models, states) if counts)]
        return "; ".join(parts)


def _after(row: Row, topic: str, payload: Any) -> Row:
    match topic, payload:
        case topics.AVAILABILITY, "online" | "offline":
            return replace(row, online=payload == "online")
        case topics.MODEL, {"state": _}:
            last = _inside(payload, "last_update")
            return replace(row, model=_text(payload, "title"), version=_text(payload, "installed_version"),
                           release=_whole(payload, "release"), variant=_text(payload, "variant"),
                           state=_text(payload, "state"), percentage=_number(payload, "update_percentage"),
                           outcome=_text(payload, "last_outcome"), failed=_failed(last),
                           last_release=_whole(last, "release"), last_sha256=_text(last, "sha256"),
                           last_ok=_truth(last, "ok"), receiver=_receiver(_inside(payload, "receiver")),
                           configuration=_configuration(_inside(payload, "configuration")))
        case topics.HEALTH, {"state": _}:
            return replace(row, health=_text(payload, "state"), reasons=tuple(_codes(payload.get("reasons"))),
                           fps=_number(_inside(payload, "capture"), "fps"),
                           invoke_ms=_number(_inside(payload, "inference", "timing_ms", "invoke"), "p50"),
                           health_at=_text(payload, "at"))
        case _:
            return row


def _model(row: Row) -> str | None:
    return f"{row.model} {row.version or ''}".rstrip() if row.model else None


def _failed(update: Mapping[str, Any]) -> str | None:
    return (_text(update, "code") or "unknown") if update.get("ok") is False else None


def _receiver(payload: Mapping[str, Any]) -> Receiver | None:
    device_class, channel, tags = payload.get("device_class"), payload.get("channel"), payload.get("tags")
    if not _is_label(device_class) or not _is_label(channel) or not isinstance(tags, list):
        return None
    return Receiver(device_class, channel, tuple(filter(_is_label, tags[:_TAGS_MAX])))


def _is_label(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LABEL_MAX


def _configuration(payload: Mapping[str, Any]) -> ConfigurationRow:
    last = _inside(payload, "last_update")
    return ConfigurationRow(_text(payload, "state"), _whole(payload, "release"), _failed(last),
                            _whole(last, "release"), _text(last, "sha256"), _truth(last, "ok"))


def kinds(values: Iterable[str | None]) -> dict[str, int]:
    """Count equal values, the most frequent first; the rare ones are together in `OTHER`."""
    counts = Counter(value for value in values if value is not None)
    kept = dict(counts.most_common(_KINDS_MAX))
    rest = counts.total() - sum(kept.values())
    return {**kept, OTHER: kept.get(OTHER, 0) + rest} if rest else kept


def _moment(text: str | None) -> datetime | None:
    """Return a moment that a device has published; None if it is not one."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


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


def _truth(payload: Mapping[str, Any], key: str) -> bool | None:
    value = payload.get(key)
    return value if isinstance(value, bool) else None


def _whole(payload: Mapping[str, Any], key: str) -> int | None:
    value = payload.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _codes(reasons: Any) -> Iterator[str]:
    for reason in reasons[:20] if isinstance(reasons, list) else ():
        if isinstance(reason, dict) and (code := _text(reason, "code")):
            yield code
