"""Detects whether the camera still shows its usual view: covered, moved, out of focus at once; dark or flat over days.

Invariants:
- A gradual change (light, weather, seasons) is absorbed as one more `Reference`; a sudden one makes the view strange.
  Nothing is learnt while the view is strange, except in the first days: then a strange view that lasts is learnt.
- Night is not drift: outlines do not depend on light, and only a day's best hours count, so no hour of day is needed.
- A strange view is named only once it has lasted, so that a lorry before the lens is not named. Soon after the view is
  normal again, it is no longer named.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from operator import mul
from typing import Annotated, Literal

from pydantic import Field

from vedette.drift.hours import Amount, Hours, State, least_hours
from vedette.types import OUTLINE_BYTES, View

Change = Literal["covered", "moved", "out of focus", "dark", "flat"]
ALIKE = 0.4
"""Likeness of a view to itself at another hour is 0.48 and more on drawn streets; to a turned camera's, up to 0.32."""
NEAR = 0.8
"""A view less alike than this is learnt as another reference."""
FADED = 0.25
"""If the detail suddenly falls below this share, the lens is covered."""
HARDLY = 4.0
"""Detail in which hardly anything can be recognized: below it, a share means little."""
BLURRED = 0.4
"""If the focus falls below this share, the picture is out of focus."""
SAME_LIGHT = 12.0
"""Grey levels by which two pictures without any detail may differ in brightness."""
GONE_AFTER_S = 10.0
GRADUAL_S = 30.0
"""How long a view must be a little different before it is learnt: during a change, measured views mix both."""
REFERENCES = 16
DAY_HOURS = 24
FADES, RETURNS = 0.5, 0.6
Measure = Literal["brightness", "contrast", "focus"]
_SLOW: dict[Measure, tuple[Change, int]] = {"brightness": ("dark", 20), "contrast": ("flat", 20),
                                            "focus": ("out of focus", 6)}
"""Measure -> the change if it is lost for a day, and the hours of the day that must have values."""
_MESSAGES: dict[Change, str] = {
    "covered": "covered: suddenly nothing can be recognized", "moved": "moved: the camera shows another view",
    "out of focus": "out of focus: the outlines are visible, but fine detail is lost",
    "dark": "dark: less than half as bright in a day's best hours",
    "flat": "flat: less than half the contrast in a day's best hours"}


class Reference(State):
    """One known appearance of this place. `outline` is hexadecimal, empty if nothing can be recognized."""

    outline: Annotated[str, Field(pattern=rf"^([0-9a-f]{{{2 * OUTLINE_BYTES}}})?$")]
    brightness: Amount
    detail: Amount
    focus: Amount
    matched_s: float

    def likeness(self, view: View, brightness: float) -> float:
        """Return how alike a view is, up to 1."""
        if view.outline and self.outline:
            return likeness(bytes.fromhex(self.outline), view.outline)
        both_empty = not view.outline and not self.outline
        return float(both_empty and abs(self.brightness - brightness) <= SAME_LIGHT)


class Picture(State):
    """The learnt views of one camera in one configuration (`key`)."""

    key: Annotated[str, Field(max_length=200)]
    began_s: float | None = None
    references: list[Reference] = Field(default_factory=list, max_length=REFERENCES)
    hours: dict[Measure, Hours] = Field(default_factory=dict)
    best: dict[Measure, Amount] = Field(default_factory=dict)
    slowly: list[Change] = Field(default_factory=list, max_length=len(_SLOW))
    named: Change | None = None

    _settling: tuple[float, Reference] | None = None
    _strange_s: float | None = None
    _normal_s: float | None = None
    _another_s: float | None = None
    _likeness: float | None = None

    @property
    def changes(self) -> list[Change]:
        """The changes that are named now."""
        return list(dict.fromkeys([*([self.named] if self.named else []), *self.slowly]))

    @property
    def likeness(self) -> float | None:
        """The likeness of the last view to the most alike reference; None before the first."""
        return self._likeness

    def message(self) -> str:
        """Return a message that says what changed."""
        return "; ".join(_MESSAGES[change] for change in self.changes)

    def observe(self, now_s: float, view: View, light: tuple[float, float], *, after_s: float, learn_s: float) -> None:
        """Process a view with its brightness and contrast, once a second. A change that lasts `after_s` is named."""
        if self.began_s is None:
            self.began_s = now_s
        self._measure(now_s, view, *light)
        seen = Reference(outline=view.outline.hex(), brightness=light[0], detail=view.detail, focus=view.focus,
                         matched_s=now_s)
        if not self.references:
            self._await_stable_view(now_s, view, seen, after_s)
            return
        nearest, self._likeness = self._nearest(view, light[0])
        strange = self._strange(view, nearest, self._likeness)
        if strange is None:
            self._on_normal_view(now_s, seen, nearest)
        else:
            self._on_strange_view(now_s, seen, strange, after_s, learn_s)

    def evaluate(self, now_s: float, learn_s: float) -> None:
        """Freeze the learnt values of a day's best hours, and decide which of them are lost."""
        self.slowly = [change for name, (change, known) in _SLOW.items()
                       if self._is_lost(name, change, known, now_s, learn_s)]

    def _await_stable_view(self, now_s: float, view: View, seen: Reference, after_s: float) -> None:
        """Start with a view that does not move: somebody may still be mounting the camera."""
        if self._settling is None or self._settling[1].likeness(view, seen.brightness) < ALIKE:
            self._settling = now_s, seen
        elif now_s - self._settling[0] >= after_s:
            self.references.append(seen)

    def _nearest(self, view: View, brightness: float) -> tuple[Reference, float]:
        """Return the most alike reference and its likeness. The last match is tried first, because it mostly fits."""
        best, alike = self.references[-1], -1.0
        for each in reversed(self.references):
            here = each.likeness(view, brightness)
            if here > alike:
                best, alike = each, here
            if alike >= NEAR:
                break
        return best, alike

    def _strange(self, view: View, nearest: Reference, alike: float) -> Change | None:
        here = self.references[-1]
        faded = view.detail + HARDLY < FADED * (here.detail + HARDLY)
        if alike < ALIKE and faded:
            return "covered"
        # Another view may be softer by nature; only one without any fine detail counts as blurred.
        least = BLURRED * nearest.focus if alike >= ALIKE else BLURRED / 4 * here.focus
        if view.outline and view.focus < least:
            return "out of focus"
        known = any(each.outline for each in self.references)
        return "moved" if alike < ALIKE and view.outline and known else None

    def _on_normal_view(self, now_s: float, seen: Reference, nearest: Reference) -> None:
        self._strange_s = None
        self._normal_s = now_s if self._normal_s is None else self._normal_s
        if self.named is not None and now_s - self._normal_s >= GONE_AFTER_S:
            self.named = None
        self.references.remove(nearest)
        nearest.matched_s = now_s
        self.references.append(nearest)
        if self.named is not None or not _is_another(seen, nearest, self._likeness or 0.0):
            self._another_s = None
        elif self._another_s is None:
            self._another_s = now_s
        elif now_s - self._another_s >= GRADUAL_S:
            self._learn(seen)

    def _on_strange_view(self, now_s: float, seen: Reference, strange: Change, after_s: float, learn_s: float) -> None:
        self._normal_s = self._another_s = None
        self._strange_s = now_s if self._strange_s is None else self._strange_s
        if now_s - self._strange_s >= after_s:
            self.named = strange
        learning = self.began_s is not None and now_s - self.began_s < learn_s
        if learning and now_s - self._strange_s >= max(learn_s / 48, 2 * after_s):
            self.named, self._strange_s = None, None
            self._learn(seen)

    def _learn(self, seen: Reference) -> None:
        self.references = [*self.references, seen][-REFERENCES:]
        self._another_s = None

    def _measure(self, now_s: float, view: View, brightness: float, contrast: float) -> None:
        self.hours.setdefault("brightness", Hours()).add(now_s, 1, brightness)
        self.hours.setdefault("contrast", Hours()).add(now_s, 1, contrast)
        if view.outline:
            self.hours.setdefault("focus", Hours()).add(now_s, 1, view.focus)

    def _is_lost(self, name: Measure, change: Change, known: int, now_s: float, learn_s: float) -> bool:
        hours = self.hours.get(name)
        if hours is None or self.began_s is None:
            return False
        if name not in self.best:
            learnt = hours.means(now_s)
            if now_s - self.began_s >= learn_s and len(learnt) >= least_hours(learn_s):
                self.best[name] = _best_of(learnt)
            return False
        day = hours.means(now_s, DAY_HOURS)
        limit = RETURNS if change in self.slowly else FADES
        return len(day) >= known and _best_of(day) < limit * self.best[name]


def likeness(one: bytes, other: bytes) -> float:
    """Return the lesser correlation of two outlines' halves: a turn to the side does not change level outlines."""
    return min(_correlation(a, b) for a, b in zip(_halves(one), _halves(other), strict=True))


@lru_cache(maxsize=2 * REFERENCES)
def _halves(outline: bytes) -> tuple[tuple[tuple[int, ...], float], ...]:
    """Return both halves of an outline as numbers, each with its length as a vector."""
    values = tuple(memoryview(outline).cast("b"))
    middle = len(values) // 2
    return tuple((half, sqrt(sum(map(mul, half, half))) or 1.0) for half in (values[:middle], values[middle:]))


def _correlation(one: tuple[tuple[int, ...], float], other: tuple[tuple[int, ...], float]) -> float:
    return float(sum(map(mul, one[0], other[0])) / (one[1] * other[1]))


def _is_another(seen: Reference, nearest: Reference, alike: float) -> bool:
    """Return whether a view deserves a reference of its own, so that the next change is a smaller step."""
    return alike < NEAR or not 0.5 < (seen.detail + HARDLY) / (nearest.detail + HARDLY) < 2 or (
        bool(seen.outline) and bool(nearest.outline) and not 0.67 < (seen.focus + 1e-3) / (nearest.focus + 1e-3) < 1.5)


def _best_of(means: list[float]) -> float:
    """Return the mean that a tenth of the hours reach: one bright hour does not make a day."""
    return sorted(means, reverse=True)[len(means) // 10]
