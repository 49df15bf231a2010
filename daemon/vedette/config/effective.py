"""What a daemon runs with, for those who look at it: the value of each key, and where it came from.

Invariants: only keys that can be signed, and few more for the page. What is published has no possible secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from vedette.config.keys import sections
from vedette.config.signed import SIGNED
from vedette.net.urls import masked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vedette.config.models import Config

ON_PAGE: Final = (*SIGNED, "camera.rotate", "camera.masks", "events.pictures")
_THRESHOLDS = ("score_threshold", "iou_threshold", "labels")


class Running(Protocol):
    """The reloader, for any thread."""

    @property
    def config(self) -> Config:
        """The configuration that runs, with what is tried."""

    @property
    def tried(self) -> Mapping[str, object]:
        """What is tried, nested as in the file."""

    @property
    def places(self) -> Mapping[str, str]:
        """Where the value of each key came from that is not a default, by its dotted name."""


class Thresholds(Protocol):
    """What the model that runs counts as a detection."""

    @property
    def score_threshold(self) -> float:
        """0-1."""

    @property
    def iou_threshold(self) -> float:
        """0-1."""

    @property
    def labels(self) -> Mapping[str, float]:
        """Thresholds of single labels."""


def effective(running: Running, limits: Thresholds | None, names: Sequence[str] = SIGNED) -> dict[str, Any]:
    """Return `config`, the values of these keys nested as in the file, and `places`, as those of `Running`.

    `limits`: a model has thresholds of its own, for keys that are not stated. Their place is `model`.
    """
    include: dict[str, Any] = {}
    for section, *name in (key.split(".") for key in names):
        include[section] = {*include.get(section, ()), *name} or True
    values = running.config.model_dump(mode="json", by_alias=True, include=include)
    places = {name: place for name, place in running.places.items() if name in names}
    if limits is not None:
        own = {"score_threshold": limits.score_threshold, "iou_threshold": limits.iou_threshold,
               "labels": dict(limits.labels)}
        for threshold in (name for name in _THRESHOLDS if own[name] != values["detector"][name]):
            places.setdefault(f"detector.{threshold}", "model")
        values["detector"] |= own
    return {"config": values, "places": places}


def without_secrets(value: object) -> Any:
    """Return a value in which everything is masked that may be a secret, also inside a mapping or a list.

    Keys are never secret.
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: without_secrets(below) for name, below in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list | tuple) else value


def places_by_key(places: Mapping[str, object]) -> dict[str, str]:
    """Return the place of each key, by its dotted name. `places`: those of all values, such as `zones.drive.points[0]`.
    """
    found: dict[str, str] = {}
    for name, place in places.items():
        section, _, below = name.partition(".")
        key = f"{section}.{re.split(r'[.[]', below)[0]}" if section in sections() and below else section
        found.setdefault(key, str(place))
    return found
