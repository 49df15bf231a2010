"""The types of the values in the section `camera`: parts of the frame, masks, and controls of a camera.

Invariants: pure; no camera is opened; every refusal is a ValueError that says what was expected.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from vedette.types import WHOLE, Box


def _roi(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not (value[0] < value[2] and value[1] < value[3]):
        raise ValueError("expected [xmin, ymin, xmax, ymax] with xmin < xmax and ymin < ymax")
    return value


def _polygon(value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    (x0, y0), *others = value
    x1, y1 = next((point for point in others if point != value[0]), value[0])
    if all((x1 - x0) * (y2 - y0) == (x2 - x0) * (y1 - y0) for x2, y2 in others):
        raise ValueError("expected a polygon with an inside; its points are all on a line")
    return value


def _control(value: Any) -> Any:
    parts = value if isinstance(value, list | tuple) else [value]
    flat = [each for part in parts for each in (part if isinstance(part, list | tuple) else [part])]
    if not isinstance(value, str) and not all(isinstance(each, bool | int | float) for each in flat):
        raise ValueError("expected a number, true, false, a name or a list of numbers")
    return value


Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Roi = Annotated[tuple[Unit, Unit, Unit, Unit], AfterValidator(_roi)]
Polygon = Annotated[tuple[tuple[Unit, Unit], ...], Field(min_length=3), AfterValidator(_polygon)]
Masks = tuple[Polygon, ...]
Control = Annotated[Any, AfterValidator(_control)]
"""A number, the name of a value, several numbers, or rectangles. The camera knows its own controls and ranges."""


def region_of(roi: tuple[float, float, float, float] | None) -> Box:
    """Return the part of a frame that is looked at, as `camera.roi` says: the whole frame for null."""
    return WHOLE if roi is None else Box(*roi)
