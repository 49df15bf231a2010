"""What a reload may change at once, and what has to wait for a restart.

Invariants: the models' mark of each key decides, nothing else; the running configuration changes in live keys only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vedette.config.keys import Key, keys, value_at

if TYPE_CHECKING:
    from vedette.config.models import Config


def restart_keys(old: Config, new: Config) -> tuple[str, ...]:
    """Return the keys that differ and need a restart, dotted."""
    return tuple(key.name for key in _differing(old, new) if key.applies == "restart")


def live_part(old: Config, new: Config) -> Config:
    """Return `old` with the live keys of `new`."""
    sections: dict[str, dict[str, Any]] = {}
    for key in _differing(old, new):
        if key.applies == "live":
            sections.setdefault(key.path[0], {})[key.path[1]] = value_at(new, key.path)
    return old.model_copy(update={name: getattr(old, name).model_copy(update=changed)
                                  for name, changed in sections.items()})


def _differing(old: Config, new: Config) -> list[Key]:
    """Keys whose value differs; a section that may be null counts as one key."""
    return [key for key in keys() if len(key.path) < 3 and value_at(old, key.path) != value_at(new, key.path)]
