"""Takes the None away from a value that a test expects to be there."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return the value, or fail where it is None."""
    assert value is not None
    return value
