"""What every section of the configuration is made of.

Invariants: every section is frozen and forbids unknown keys; every key says what it means, and whether a reload applies
it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def live(default: Any, description: str, **limits: Any) -> Any:
    """Declare a key that `SIGHUP` applies at once."""
    return Field(default, description=description, json_schema_extra={"applies": "live"}, **limits)


def restart(default: Any, description: str, **limits: Any) -> Any:
    """Declare a key that needs a restart."""
    return Field(default, description=description, json_schema_extra={"applies": "restart"}, **limits)


class Section(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=False)
