"""Chooses which picture a full collection gives up, so that the others stay varied.

Invariants:
- Pure. The rule decides alone, so a picture is never given up at random.
- The tenths of the brightness that the camera has shown get equally many pictures: the fullest tenth gives one up. The
  darkest and the brightest picture stay.
- In that tenth, the picture goes whose labels and whose time most others share. A doubtful one rather stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

TENTHS = 10
PARTS = 24
"""A collection's time has so many parts: of a day, the hours."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of one picture: its file, and what makes it different from others.

    `brightness`: mean luma, 0-255. `labels`: in order, each once. `part`: of the collection's time, 0 to PARTS - 1.
    `at_s`: Unix time, for its age.
    """

    name: str
    size_bytes: int
    brightness: float
    labels: tuple[str, ...]
    doubtful: bool
    part: int
    width: int
    height: int
    at_s: float


def tenth(brightness: float, shown: Sequence[float]) -> int:
    """Return in which tenth of `shown` a brightness is, 0-9. `shown` is sorted; equal values count as their middle."""
    if not shown:
        return 0
    rank = (bisect_left(shown, brightness) + bisect_right(shown, brightness)) / 2 / len(shown)
    return min(int(rank * TENTHS), TENTHS - 1)


def given_up(pictures: Sequence[Picture], shown: Sequence[float]) -> Picture:
    """Return the picture to give up: an old one of another size than the newest, or else by the rule above.

    `pictures`: at least one, the newest last. `shown`: the brightness of what the camera has shown, sorted.
    """
    newest = pictures[-1]
    for picture in pictures:
        if (picture.width, picture.height) != (newest.width, newest.height):
            return picture
    tenths = [tenth(picture.brightness, shown) for picture in pictures]
    counts = Counter(tenths)
    fullest = max(counts.values())
    crowded = [picture for picture, its in zip(pictures, tenths, strict=True) if counts[its] == fullest]
    extremes = (min(pictures, key=_BRIGHTNESS), max(pictures, key=_BRIGHTNESS))
    spare = [picture for picture in crowded if picture not in extremes] or crowded
    alike = Counter(trait for picture in pictures for trait in _traits(picture))
    kinds = Counter(kind for kind, _ in alike)
    return min(reversed(spare), key=partial(_worth, alike, kinds))     # of equal ones the newest, which costs no write


_BRIGHTNESS = attrgetter("brightness")


def _traits(picture: Picture) -> Iterator[tuple[str, object]]:
    """Yield what a picture shows: each label or that there is none, whether it is doubtful, and its time."""
    for label in picture.labels or (None,):
        yield "label", label
    yield "doubtful", picture.doubtful
    yield "part", picture.part


def _worth(alike: Mapping[tuple[str, object], int], kinds: Mapping[str, int], picture: Picture) -> float:
    """Return how rare the traits of a picture are, compared with others of their kind. To have no doubt is no trait."""
    return sum(1 / (kinds[kind] * alike[kind, trait]) for kind, trait in _traits(picture) if trait is not False)
