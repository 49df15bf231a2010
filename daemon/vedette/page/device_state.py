"""What the page knows of one daemon, as a value.

Invariants: frozen; what a daemon that does not answer said last stays, and `reachable` says that it is old.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What is known of one daemon."""

    path: Path
    """Where its socket is."""
    since: datetime
    """Since when it is reachable, or is not."""
    device: str = ""
    """Its name. Empty before its first answer."""
    reachable: bool = False
    error: str | None = None
    """Why it is not reachable."""
    messages: Mapping[str, Any] = field(default_factory=dict)
    """Topic below the device's base -> the newest payload, as a JSON value. A picture is null."""
