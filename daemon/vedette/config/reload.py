"""What a reload may change at once, what has to wait for a restart, what is only tried, and who takes it.

Invariants: the mark of each key in `models` decides, but the region may wait with the keys that decide what a frame
shows; the running configuration changes in live keys only, and they have the effect that a restart would give them; a
configuration that is refused changes nothing, and health says so. What is tried lasts until it is taken back, until the
next reload or the next start, and health says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from vedette.config.camera_values import region_of
from vedette.config.effective import places_by_key
from vedette.config.keys import Key, keys, value_at
from vedette.config.tried import names_of, with_tried
from vedette.errors import ConfigError
from vedette.types import Box

if TYPE_CHECKING:
    from vedette.config.load import Loaded
    from vedette.config.models import Config
    from vedette.config.section import Section
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

_LOGGED_CHARS = 1000
_FRAME = frozenset({"camera.source", "camera.width", "camera.height", "camera.rotate", "camera.controls"})
"""What a frame shows. The region is a part of that, so it is not applied before them."""
_MASKS = frozenset({"camera.masks", "cloud.masks"})
"""What is hidden in a frame. A region that shows more is not applied before them."""


class Reloadable(Protocol):
    """A part with live keys."""

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Main thread; does not block."""


class Reloader:
    """Reads the configuration again, and hands its live keys to the parts. A ports.ReasonSource. Main thread.

    `parts` take each change, `lasting_parts` none that is only tried.
    """

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self.config = loaded.config
        """The configuration that runs, with what is tried. Any thread."""
        self.places: Mapping[str, str] = places_by_key(loaded.places)
        """Where the value of each key came from that is not a default, by its dotted name. Any thread."""
        self.tried: Mapping[str, object] = {}
        """What is tried, nested as in the file. Any thread."""
        self.parts: Sequence[Reloadable] = ()
        self.lasting_parts: Sequence[Reloadable] = ()
        self.pending: tuple[str, ...] = ()
        """Keys that the file has otherwise, dotted: they wait for a restart. Any thread."""
        self._lasting, self._lasting_places = loaded.config, self.places
        self._load = load
        self._rejected: str | None = None

    def reload(self) -> bool:
        """Have every part take the live keys; a refused configuration changes nothing. Returns whether it was taken."""
        try:
            loaded = self._load()
        except ConfigError as error:
            log.error("reload refused, nothing changed:\n%s", error)
            self._rejected = error.problems[0]
            return False
        self._rejected = None
        self.pending = restart_keys(self._lasting, loaded.config)
        self._lasting = live_part(self._lasting, loaded.config)
        waiting = {name: place for name, place in self._lasting_places.items() if name in self.pending}
        self._lasting_places = waiting | {name: place for name, place in places_by_key(loaded.places).items()
                                          if name not in self.pending}
        self._apply(self._lasting, {})
        for part in self.lasting_parts:
            part.reload(self._lasting)
        log.info("reloaded%s", f"; at the next start: {', '.join(self.pending)}" if self.pending else "")
        return True

    def try_out(self, wanted: Mapping[str, object]) -> tuple[str, ...]:
        """Apply these keys, and no others that were tried before; returns them, dotted. They are nested as in the file.

        Raises: ConfigError; then nothing has changed.
        """
        names = names_of(wanted)
        self._apply(live_part(self._lasting, with_tried(self._lasting, wanted)), wanted if names else {})
        log.info("tried until the next reload or start: %s", json.dumps(wanted)[:_LOGGED_CHARS] if names else "nothing")
        return names

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        reasons: dict[ReasonCode, str] = {"restart_needed": ", ".join(self.pending)} if self.pending else {}
        if self._rejected is not None:
            reasons["config_rejected"] = self._rejected
        if self.tried:
            reasons["config_tried"] = ", ".join(names_of(self.tried))
        return reasons

    def _apply(self, config: Config, tried: Mapping[str, object]) -> None:
        self.config, self.tried = config, tried
        self.places = {**self._lasting_places, **dict.fromkeys(names_of(tried), "tried")}
        for part in self.parts:
            part.reload(config)


def restart_keys(old: Config, new: Config) -> tuple[str, ...]:
    """Return the keys that differ and need a restart, dotted."""
    differing = _differing(old, new)
    waiting = {key.name for key in differing if key.applies == "restart"}
    if waiting & _FRAME or (waiting & _MASKS and _shows_more(old, new)):
        waiting.add("camera.roi")
    return tuple(key.name for key in differing if key.name in waiting)


def live_part(old: Config, new: Config) -> Config:
    """Return `old` with the live keys of `new`: their values, and whether they are stated."""
    waiting = restart_keys(old, new)
    live = [key.path for key in keys() if key.applies == "live" and key.name not in waiting]
    names: dict[str, set[str]] = {}
    for section, name in (path for path in live if len(path) == 2):
        names.setdefault(section, set()).add(name)
    return old.model_copy(update={path[0]: getattr(new, path[0]) for path in live if len(path) == 1} | {
        section: _with_live(getattr(old, section), getattr(new, section), live) for section, live in names.items()})


def _shows_more(old: Config, new: Config) -> bool:
    before, after = region_of(old.camera.roi), region_of(new.camera.roi)
    return after != Box(max(before.xmin, after.xmin), max(before.ymin, after.ymin),
                        min(before.xmax, after.xmax), min(before.ymax, after.ymax))


def _with_live(old: Section, new: Section, live: set[str]) -> Section:
    """Return a section with the live keys of another. A model's own setting counts where a key is not stated."""
    stated = (old.model_fields_set - live) | (new.model_fields_set & live)
    return type(old).model_construct(stated, **{**dict(old), **{name: getattr(new, name) for name in live}})


def _differing(old: Config, new: Config) -> list[Key]:
    """Keys whose value differs; a section that may be null counts as one key."""
    return [key for key in keys() if len(key.path) < 3 and value_at(old, key.path) != value_at(new, key.path)]
