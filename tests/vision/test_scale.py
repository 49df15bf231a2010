"""Scaling a frame to a model's input: the same bytes on every processor and with every OpenCV."""

import hashlib

import pytest

from tests.support.models.scalings import SCALINGS, scaled


@pytest.mark.parametrize("name", SCALINGS)
def test_the_bytes_are_the_same_everywhere(name: str) -> None:
    """A device whose OpenCV rounds otherwise feeds its model other pixels."""
    assert hashlib.sha256(scaled(name)).hexdigest().startswith(SCALINGS[name][2])
