"""The names of every MQTT topic, and what makes one valid.

Invariants: a device publishes only below its base; a label becomes a topic level only through `topic_level`, because a
`+`, `#` or `/` in it would make an invalid or a deeper topic; no model or file name ever becomes one; names here are
relative to the base unless they say otherwise.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ROOT: Final = "vedette"

AVAILABILITY: Final = "availability"
INFO: Final = "info"
DETECTIONS: Final = "detections"
COUNTS: Final = "counts"
EVENTS: Final = "events"
ZONES: Final = "zones"
CAMERA: Final = "camera"
HEALTH: Final = "health"
MODEL: Final = "model"
SHADOW: Final = "shadow"
SNAPSHOT: Final = "snapshot"
BEST: Final = "best"
COMMANDS: Final = "cmd"
REPLIES: Final = "reply"

FLEET_UPDATE: Final = f"{ROOT}/fleet/update"
"""Absolute. The command `update`, to every device."""

HOME_ASSISTANT_STATUS: Final = "homeassistant/status"
"""Absolute. Home Assistant's birth and will: ONLINE when it has started."""

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"

_LONGEST = 65_535  # bytes of UTF-8: MQTT 5, 1.5.4
LEVEL_BYTES: Final = 250
_DIGITS = 16
_ESCAPED = re.compile("[/+#%\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\\$")


def base(device: str) -> str:
    """Return the absolute topic under which a device publishes everything."""
    return f"{ROOT}/{device}"


def absolute(device: str, topic: str) -> str:
    """Return the topic as the broker sees it: below the device's base, or as given after a leading slash."""
    return topic[1:] if topic.startswith("/") else f"{base(device)}/{topic}"


def subscriptions(device: str) -> tuple[str, ...]:
    """Return the absolute topic filters that a device subscribes to."""
    return f"{base(device)}/{COMMANDS}/+", FLEET_UPDATE


def command_name(device: str, topic: str) -> str | None:
    """Return the name of the command in an absolute topic. None: it is not a command for this device."""
    if topic == FLEET_UPDATE:
        return "update"
    prefix = f"{base(device)}/{COMMANDS}/"
    name = topic.removeprefix(prefix)
    return name if topic.startswith(prefix) and name and "/" not in name else None


def reply_topic(device: str, command: str, requested: str | None = None) -> str:
    """Return the absolute topic of a reply: the requested one, if it is valid and below `<base>/reply/`."""
    prefix = f"{base(device)}/{REPLIES}/"
    if requested is not None and requested.startswith(prefix) and requested != prefix and is_publishable(requested):
        return requested
    return prefix + command


def is_publishable(topic: str) -> bool:
    """Return whether MQTT allows publishing to an absolute topic (MQTT 5, 4.7: no wildcard, no NUL, not empty)."""
    return bool(topic) and not set(topic) & set("+#\0") and len(topic.encode("utf-8", "replace")) <= _LONGEST


def topic_level(label: str) -> str:
    """Return one topic level for a label: percent-encoded, valid, and another one for each label.

    `/`, `+`, `#`, `%`, control characters and a leading `$` become `%` and two hexadecimal digits for each byte of
    UTF-8. An empty label is `%`. A level longer than LEVEL_BYTES is cut, and ends with `%~` and a part of its SHA-256.
    """
    level = _ESCAPED.sub(_percent_encoded, label).encode()
    if len(level) > LEVEL_BYTES:
        head = re.sub(b"%.?$", b"", level[:LEVEL_BYTES - _DIGITS - 2])
        level = head + b"%~" + hashlib.sha256(_utf8(label)).hexdigest()[:_DIGITS].encode()
    return level.decode(errors="ignore") or "%"     # a character may be cut


def _percent_encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in _utf8(found[0]))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")    # a label may come from a damaged file
