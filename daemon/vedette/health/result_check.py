"""Notices results that no scene gives: a full list in every frame, or classes that never come twice.

A model that is decoded in the wrong way gives such results. They look like detections to everything else.

Invariants: fixed memory and little work for each result. Only results of the device's own model count, and a new model
starts anew. The detect thread writes, any thread reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.ports import Clock
    from vedette.types import DetectionResult, ModelRef, ReasonCode

LASTS_S = 5.0
LEAST_RESULTS = 10
FULL_FROM = 20
"""A scene may well hold more things than a smaller `detector.max_detections` allows."""
DIFFERENT_FROM = 20
"""So many things of so many classes, in every frame."""
NEVER_TWICE_FROM = 12
"""So many classes, each seen in one frame only."""


class _Spell:
    """How long every result has had a property, and how many results that were."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ns: int | None = None
        self.results = 0

    def note(self, *, holds: bool) -> None:
        """Take the next result."""
        self.results = self.results + 1 if holds else 0
        self._since_ns = (self._since_ns or self._clock.monotonic_ns()) if holds else None

    @property
    def lasts(self) -> bool:
        """Whether it has been long enough."""
        return self._since_ns is not None and self.results >= LEAST_RESULTS and (
            self._clock.monotonic_ns() - self._since_ns >= LASTS_S * 1e9)


class ResultCheck:
    """Gets every result of the run. A ports.ReasonSource."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._most = config.detector.max_detections
        self._begin(None)

    def _begin(self, model: ModelRef | None) -> None:
        self._model = model
        self._full = _Spell(self._clock)
        self._different = _Spell(self._clock)
        self._unrepeated = _Spell(self._clock)
        self._seen: set[int | None] = set()

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        self._most = config.detector.max_detections

    def on_result(self, result: DetectionResult) -> None:
        """Take one result."""
        if result.source != "local":
            return
        if result.model != self._model:
            self._begin(result.model)
        found = result.detections
        classes = {each.class_id for each in found}
        all_different = len(classes) == len(found)
        self._full.note(holds=len(found) >= max(self._most, FULL_FROM))
        # A classifier gives each class once, and one box for all of them.
        several_boxes = len({each.box for each in found}) > 1
        self._different.note(holds=all_different and several_boxes and len(found) >= DIFFERENT_FROM)
        if not found:
            return
        self._unrepeated.note(holds=all_different and not classes & self._seen)
        self._seen = self._seen | classes if self._unrepeated.results else set()

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        found = []
        if self._full.lasts:
            found.append(f"each of the last {self._full.results} results has {self._most} detections, the most that "
                         "detector.max_detections allows")
        if self._different.lasts:
            found.append(f"in each of the last {self._different.results} results, no class comes twice")
        if self._unrepeated.lasts and len(self._seen) >= NEVER_TWICE_FROM:
            found.append(f"in the last {self._unrepeated.results} results, no class comes twice")
        return {"results_implausible": "; ".join(found)} if found else {}
