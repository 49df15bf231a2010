"""Checks `camera.controls` and `camera.focus` against what the camera says it has, before it is given them.

Invariants: pure: no library is imported. A control that the camera does not have, or a value out of its range, is
refused in words, with what there is. Names of values, such as `Daylight`, become the numbers that libcamera takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vedette.errors import SourceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Limits = tuple[Any, Any, Any]
    """Least, greatest and default value, as `Picamera2.camera_controls` has them."""
    Names = Callable[[str], Mapping[str, Any]]
    """Returns the names of a control's values and their numbers. Empty when they have no names."""

FLIPS = ("hflip", "vflip")
"""Not controls of libcamera, but the two parts of its transform. Every camera of the board has them."""


def check_names(controls: Iterable[str], advertised: Iterable[str]) -> None:
    """Raise: SourceInvalid for a control that the camera does not have."""
    has = [*FLIPS, *sorted(advertised)]
    for name in controls:
        if name not in has:
            raise SourceInvalid(f"camera.controls: this camera has no {name}; it has {', '.join(has)}")


def flips(controls: Mapping[str, Any]) -> dict[str, bool]:
    """Return hflip and vflip. Raises: SourceInvalid."""
    for name in FLIPS:
        if not isinstance(controls.get(name, False), bool):
            raise SourceInvalid(f"camera.controls: {name}: {controls[name]!r}, expected true or false")
    return {name: controls.get(name, False) for name in FLIPS}


def with_focus(controls: Mapping[str, Any], focus: float | None, advertised: Iterable[str]) -> dict[str, Any]:
    """Return the controls without the flips, and with those that focus the lens. Controls replace `focus`.

    Raises: SourceInvalid when a distance is asked of a camera without a lens that moves.
    """
    moves = {"AfMode", "LensPosition"} <= set(advertised)
    if focus is not None and not moves:
        raise SourceInvalid("camera.focus: this camera has no lens that moves; set null")
    lens: dict[str, Any] = {}
    if moves:
        lens = {"AfMode": "Continuous"} if focus is None else {"AfMode": "Manual", "LensPosition": focus}
    return lens | {name: value for name, value in controls.items() if name not in FLIPS}


def checked(controls: Mapping[str, Any], advertised: Mapping[str, Limits], names: Names) -> dict[str, Any]:
    """Return the controls with numbers in place of names. Raises: SourceInvalid for a value that cannot be."""
    return {name: _checked(name, value, advertised[name], names(name)) for name, value in controls.items()}


def _checked(name: str, value: Any, limits: Limits, named: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value in named:
        return int(named[value])
    parts = value if isinstance(value, list | tuple) else (value,)
    if isinstance(value, str) or not parts or not all(_fits(part, limits) for part in parts):
        expected = f"one of {', '.join(named)}" if named else _range(limits)
        raise SourceInvalid(f"camera.controls: {name}: {value!r}, expected {expected}")
    return value


def _fits(part: Any, limits: Limits) -> bool:
    low, high, _ = limits
    if isinstance(low, bool):
        return isinstance(part, bool)
    if isinstance(low, int | float):
        whole = isinstance(low, int)
        return type(part) in ((int,) if whole else (int, float)) and low <= part <= high
    if low is None:
        return True
    # A rectangle: four whole numbers, or several of them. libcamera cuts them to what the sensor has.
    return type(part) is int or (isinstance(part, list | tuple) and [type(each) for each in part] == [int] * 4)


def _range(limits: Limits) -> str:
    low, high, _ = limits
    if isinstance(low, bool):
        return "true or false"
    if isinstance(low, int | float):
        return f"{'whole numbers' if isinstance(low, int) else 'numbers'} from {low:g} to {high:g}"
    return "whole numbers: x, y, width, height"
