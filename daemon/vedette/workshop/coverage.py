"""What the pictures for a calibration cover: how many there are, their light, and what the float model sees in them.

Invariants: pure. Brightness and contrast are the measures that health publishes of a camera. Only what was measured to
cost accuracy is refused (docs/workshop.md has the table): the values that a network sees are as far apart as light and
dark in its pictures, and noise measured like nothing that it was trained on. What a picture shows costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.camera.brightness import light_of
from vedette.errors import ModelUnsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.types import Detection, Frame

FEW = 100
"""Fewer pictures are a warning."""
CONTRAST_LEAST = 5.0
"""A tenth of the pictures must have this contrast, in grey levels."""
DARK = 32.0
"""Where nine tenths of the pictures are darker, that is the reason why they have no contrast."""
ALIKE = 1.0
"""Pictures whose brightness and whose contrast lie closer together are one and the same."""
SIMILARITY_LEAST = 0.5
"""Neighbouring pixels of a picture must be at least so alike: 0 is noise, 1 the same everywhere."""
_NINTH = 9      # nine tenths are at most this
_LISTED_MAX = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over the pictures: mean, standard deviation, and the 11 deciles from the lowest to the highest."""

    mean: float
    std: float
    deciles: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        found = np.asarray(values, np.float64)
        deciles = np.percentile(found, range(0, 101, 10))
        return cls(round(float(found.mean()), 1), round(float(found.std()), 1),
                   tuple(round(float(value), 1) for value in deciles))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device's health messages say: brightness and contrast (0-255) of each, and its scores by label."""

    brightness: tuple[float, ...]
    contrast: tuple[float, ...]
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the pictures cover. `similarity`: how alike neighbouring pixels are in most pictures, 1 at most.

    `labels`: how many pictures show each label, as the float model sees them.
    """

    pictures: int
    brightness: Spread
    contrast: Spread
    similarity: float
    labels: Mapping[str, int]

    def refusals(self) -> Iterator[str]:
        """Yield why a calibration with these pictures would cost accuracy."""
        contrast, brightness = (spread.deciles[_NINTH] for spread in (self.contrast, self.brightness))
        if contrast < CONTRAST_LEAST:
            kind = "dark" if brightness < DARK else "flat"
            yield (f"the pictures are {kind}: the contrast of nine tenths is {contrast:.1f} or less; expected at least "
                   f"{CONTRAST_LEAST:.0f}, as in pictures by day")
        elif max(spread.deciles[-1] - spread.deciles[0] for spread in (self.brightness, self.contrast)) < ALIKE:
            yield "all pictures have the same light; expected different ones, of many hours"
        if self.similarity < SIMILARITY_LEAST:
            yield (f"the pictures are noise: their neighbouring pixels are alike by {self.similarity:.2f}; expected at "
                   f"least {SIMILARITY_LEAST}, as in pictures of a camera")

    def warnings(self, seen: Seen | None = None) -> Iterator[str]:
        """Yield what is worth knowing; `seen` is what the device sees."""
        if self.pictures < FEW:
            yield f"{self.pictures} pictures are few; expected 100 to 500"
        if seen is not None:
            yield from self._unlike(seen)

    def plain(self) -> dict[str, Any]:
        """Return it as a value for JSON."""
        return {"pictures": self.pictures, "brightness": _plain(self.brightness), "contrast": _plain(self.contrast),
                "similarity": self.similarity, "labels": dict(self.labels),
                "refused": list(self.refusals())}

    def _unlike(self, seen: Seen) -> Iterator[str]:
        for name, here, there in (("brightness", self.brightness, seen.brightness),
                                  ("contrast", self.contrast, seen.contrast)):
            low, high = here.deciles[0], here.deciles[-1]
            if there and not low <= min(there) <= max(there) <= high:
                yield (f"the device sees a {name} of {_between(min(there), max(there))}, the pictures have "
                       f"{_between(low, high)}: add pictures of that light")
        missing = [label for label, count in seen.labels.items() if count and self.labels.get(label) == 0]
        if missing:
            more = ", …" if len(missing) > _LISTED_MAX else ""
            yield f"the device sees labels that no picture shows: {', '.join(missing[:_LISTED_MAX])}{more}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured of one picture: brightness and contrast (0-255), and how alike its neighbouring pixels are."""

    light: tuple[float, float]
    similarity: float

    @classmethod
    def at(cls, frame: Frame, values: NDArray[np.float32]) -> Measured:
        """Measure a frame; `values` are the model's input for it, without any padding."""
        return cls(light_of(frame.pixels), similarity_of(values))


def coverage_of(measured: Sequence[Measured], found: Sequence[Sequence[Detection]], labels: Iterable[str]) -> Coverage:
    """Return what pictures cover: at least one, with its detections. `labels`: those that the model can detect."""
    brightness, contrast = zip(*(each.light for each in measured), strict=True)
    shown = Counter(label for detections in found for label in {each.label for each in detections})
    return Coverage(len(measured), Spread.of(brightness), Spread.of(contrast),
                    similarity=round(float(np.median([each.similarity for each in measured])), 2) or 0.0,    # no -0.0
                    labels={label: shown[label] for label in labels} | shown)


def similarity_of(values: NDArray[np.float32]) -> float:
    """Return how alike neighbouring pixels are: their correlation along the rows; 1 where all are equal.

    `values`: a model's input, (1, rows, columns, channels) or (1, channels, rows, columns).
    """
    picture = values[0].mean(axis=-1 if values.shape[-1] in (1, 3) else 0, dtype=np.float64)
    variance = float(picture.var())
    return 1.0 - float(np.square(np.diff(picture, axis=1)).mean()) / (2 * variance) if variance > 0 else 1.0


def seen_by(messages: Iterable[object], where: str) -> Seen:
    """Return what health messages of a device say. Raises: ModelUnsupported (another message), naming `where`."""
    light: dict[str, list[float]] = {"brightness": [], "contrast": []}
    labels: Counter[str] = Counter()
    for message in messages:
        if not isinstance(message, dict) or not str(message.get("schema")).startswith("vedette.health/"):
            raise ModelUnsupported(f"{where}: expected health messages of a device, with schema vedette.health/1")
        for name, value in _dict(message.get("image")).items():
            if name in light and isinstance(value, int | float):
                light[name].append(float(value))
        for label, each in _dict(message.get("scores")).items():
            if isinstance(count := _dict(each).get("count"), int):
                labels[label] = max(labels[label], count)
    return Seen(tuple(light["brightness"]), tuple(light["contrast"]), dict(labels))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "std": spread.std, "deciles": list(spread.deciles)}


def _between(low: float, high: float) -> str:
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f}-{high:.0f}"
