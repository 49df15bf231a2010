"""Whether the camera still shows what it showed: covered, moved, out of focus at once; dark or flat over days.

Invariants:
- A change that comes by and by (light, weather, seasons) is learnt along, as one more `Reference`; one that comes at
  once is strange. Nothing is learnt while the picture is strange, but in the first days what holds for a while is.
- Night is no drift: outlines leave light out, and of a day only the best hours count, so no hour of day is needed.
- What is strange is named once it has lasted, so that a lorry before the lens is not; and no longer soon after.
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
"""Likeness of one view to itself at another hour: 0.48 and more on drawn streets; of a turned camera's: to 0.32."""
NEAR = 0.8
"""What is less alike is learnt as another reference."""
FADED = 0.25
"""Less of the detail than this share, all at once, is a cover."""
HARDLY = 4.0
"""Detail in which there is hardly anything to recognize: below, a share means little."""
BLURRED = 0.4
"""Less of the focus than this share is out of focus."""
SAME_LIGHT = 12.0
"""Grey levels by which two pictures without any detail may differ in brightness."""
GONE_AFTER_S = 10.0
BY_AND_BY_S = 30.0
"""So long a view must be a little different to be learnt: while one view gives way to another, looks are of both."""
REFERENCES = 16
DAY_HOURS = 24
FADES, RETURNS = 0.5, 0.6
Measure = Literal["brightness", "contrast", "focus"]
_SLOW: dict[Measure, tuple[Change, int]] = {"brightness": ("dark", 20), "contrast": ("flat", 20),
                                            "focus": ("out of focus", 6)}
"""Measure -> its name when it is lost for a day, and the hours of the day that must be known."""
_WORDS: dict[Change, str] = {
    "covered": "covered: there is nothing to recognize, all at once", "moved": "moved: the camera shows another view",
    "out of focus": "out of focus: the outlines are there, fine detail is lost",
    "dark": "dark: not half as bright in a day's best hours",
    "flat": "flat: not half the contrast in a day's best hours"}


class Reference(State):
    """One way in which this place looks. `outline` in hexadecimal, empty where there is nothing to recognize."""

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
    """What is known of the view of one camera as it is configured (`key`)."""

    key: Annotated[str, Field(max_length=200)]
    began_s: float | None = None
    references: list[Reference] = Field(default_factory=list, max_length=REFERENCES)
    hours: dict[Measure, Hours] = Field(default_factory=dict)
    best: dict[Measure, Amount] = Field(default_factory=dict)
    slowly: list[Change] = Field(default_factory=list, max_length=len(_SLOW))
    named: Change | None = None

    _settling: tuple[float, Reference] | None = None
    _strange_s: float | None = None
    _well_s: float | None = None
    _another_s: float | None = None
    _likeness: float | None = None

    @property
    def changes(self) -> list[Change]:
        """What is named now."""
        return list(dict.fromkeys([*([self.named] if self.named else []), *self.slowly]))

    @property
    def likeness(self) -> float | None:
        """How alike the last view was to the most alike reference; None before."""
        return self._likeness

    def words(self) -> str:
        """Say what changed."""
        return "; ".join(_WORDS[change] for change in self.changes)

    def look(self, now_s: float, view: View, light: tuple[float, float], *, after_s: float, learn_s: float) -> None:
        """Take a view with its brightness and contrast: one a second. What lasts `after_s` is named."""
        if self.began_s is None:
            self.began_s = now_s
        self._measure(now_s, view, *light)
        seen = Reference(outline=view.outline.hex(), brightness=light[0], detail=view.detail, focus=view.focus,
                         matched_s=now_s)
        if not self.references:
            self._settle(now_s, view, seen, after_s)
            return
        nearest, self._likeness = self._nearest(view, light[0])
        strange = self._strange(view, nearest, self._likeness)
        if strange is None:
            self._be_well(now_s, seen, nearest)
        else:
            self._be_strange(now_s, seen, strange, after_s, learn_s)

    def judge(self, now_s: float, learn_s: float) -> None:
        """Freeze what is learnt of a day's best hours, and decide what has been lost of them."""
        self.slowly = [change for name, (change, known) in _SLOW.items()
                       if self._is_lost(name, change, known, now_s, learn_s)]

    def _settle(self, now_s: float, view: View, seen: Reference, after_s: float) -> None:
        """Begin with a view that holds still: a camera may still be in somebody's hands."""
        if self._settling is None or self._settling[1].likeness(view, seen.brightness) < ALIKE:
            self._settling = now_s, seen
        elif now_s - self._settling[0] >= after_s:
            self.references.append(seen)

    def _nearest(self, view: View, brightness: float) -> tuple[Reference, float]:
        """Return the most alike reference, and how alike; the one matched last first, for that mostly does."""
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
        # Another view may be softer by nature; only one without any fine detail is taken for blurred.
        least = BLURRED * nearest.focus if alike >= ALIKE else BLURRED / 4 * here.focus
        if view.outline and view.focus < least:
            return "out of focus"
        known = any(each.outline for each in self.references)
        return "moved" if alike < ALIKE and view.outline and known else None

    def _be_well(self, now_s: float, seen: Reference, nearest: Reference) -> None:
        self._strange_s = None
        self._well_s = now_s if self._well_s is None else self._well_s
        if self.named is not None and now_s - self._well_s >= GONE_AFTER_S:
            self.named = None
        self.references.remove(nearest)
        nearest.matched_s = now_s
        self.references.append(nearest)
        if self.named is not None or not _is_another(seen, nearest, self._likeness or 0.0):
            self._another_s = None
        elif self._another_s is None:
            self._another_s = now_s
        elif now_s - self._another_s >= BY_AND_BY_S:
            self._learn(seen)

    def _be_strange(self, now_s: float, seen: Reference, strange: Change, after_s: float, learn_s: float) -> None:
        self._well_s = self._another_s = None
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
    """Return the lesser correlation of two outlines' halves: a turn to the side leaves what lies level as it was."""
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
    """Whether a view is worth a reference of its own: next time there is a step less to it."""
    return alike < NEAR or not 0.5 < (seen.detail + HARDLY) / (nearest.detail + HARDLY) < 2 or (
        bool(seen.outline) and bool(nearest.outline) and not 0.67 < (seen.focus + 1e-3) / (nearest.focus + 1e-3) < 1.5)


def _best_of(means: list[float]) -> float:
    """Return the mean that a tenth of the hours reach: one lamp for an hour makes no day."""
    return sorted(means, reverse=True)[len(means) // 10]
