"""Whether a field of a message has the type that its class declares. The child may send nonsense.

Invariants: pure; a number that no camera gives is refused too.
"""

from __future__ import annotations

from typing import Any, get_args, get_origin


def checked(name: str, key: str, value: Any, hint: Any) -> Any:
    """Return the value of the field `key`, a list as a tuple. Raises: ValueError if it has another type."""
    if get_origin(hint) is tuple:
        if isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value):
            return tuple(value)
    elif _fits(value, hint):
        return value
    raise ValueError(f"{name}.{key} is {value!r}, expected {hint}")


def _fits(value: Any, hint: Any) -> bool:
    if hint in (float | None, int | None):
        return value is None or _fits(value, get_args(hint)[0])
    if hint is float:
        return type(value) in (int, float) and abs(value) < 1e12
    if hint in (int, str, bool):
        return type(value) is hint
    return value in get_args(hint)
