"""The keys of `vedette.json` in a bundle that state how to run the model.

Invariants: unknown keys are ignored, since a later version may add some. No pydantic here: its import would take longer
than the rest of a proof.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vedette.errors import ModelUnsupported
from vedette.vision.geometry import Resize
from vedette.vision.normalization import Color

T = TypeVar("T")
_COLORS: tuple[Color, ...] = ("rgb", "bgr")
_RESIZES: tuple[Resize, ...] = ("letterbox", "stretch")


class _Unexpected(Exception):
    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"{key}: expected {expected}")


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """What vedette.json states; None: nothing. Thresholds are 0-1. `mean` and `std` are there together."""

    name: str | None
    version: str | None
    sha256: str | None
    decoder: str | None
    color: Color | None
    resize: Resize | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    score_threshold: float | None
    iou_threshold: float | None
    label_thresholds: Mapping[str, float]


def parse(content: bytes, where: str) -> BundleSettings:
    """Return the settings in the content of vedette.json. Raises: ModelUnsupported, naming `where` and the key."""
    try:
        return _settings(_object(json.loads(content.decode()), "the file"))
    except (_Unexpected, ValueError, RecursionError) as error:
        raise ModelUnsupported(f"{where}: {error}") from error


def _settings(keys: dict[str, Any]) -> BundleSettings:
    normalization, thresholds = keys.get("normalization"), _object(keys.get("thresholds", {}), "thresholds")
    stated = None if normalization is None else _object(normalization, "normalization")
    labels = _object(thresholds.get("labels", {}), "thresholds.labels")
    return BundleSettings(
        name=_text(keys.get("name"), "name"), version=_text(keys.get("version"), "version"),
        sha256=_text(keys.get("sha256"), "sha256"), decoder=_text(keys.get("decoder"), "decoder"),
        color=_choice(keys.get("color"), "color", _COLORS), resize=_choice(keys.get("resize"), "resize", _RESIZES),
        mean=None if stated is None else _numbers(stated.get("mean"), "normalization.mean"),
        std=None if stated is None else _numbers(stated.get("std"), "normalization.std"),
        score_threshold=_threshold(thresholds.get("score"), "thresholds.score"),
        iou_threshold=_threshold(thresholds.get("iou"), "thresholds.iou"),
        label_thresholds={label: _number(value, f"thresholds.labels.{label[:100]}")
                          for label, value in labels.items()})


def _object(value: object, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Unexpected(key, "an object {…}")
    return value


def _text(value: object, key: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Unexpected(key, "a text")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _Unexpected(key, "no half of a surrogate pair, which cannot be published")
    return value


def _choice(value: object, key: str, choices: tuple[T, ...]) -> T | None:
    found = next((choice for choice in choices if choice == value), None)
    if found is None and value is not None:
        raise _Unexpected(key, " or ".join(map(str, choices)))
    return found


def _numbers(value: object, key: str) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise _Unexpected(key, "a list of numbers")
    most = sys.float_info.max
    return tuple(_number(item, key, -most, most, "finite numbers") for item in value)


def _threshold(value: object, key: str) -> float | None:
    return None if value is None else _number(value, key)


def _number(value: object, key: str, least: float = 0.0, most: float = 1.0,
            expected: str = "a number of 0 to 1") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise _Unexpected(key, expected)
    return float(value)
