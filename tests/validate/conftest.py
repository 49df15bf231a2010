"""Fixtures of the tests of candidates and of the frame tap."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.models.candidates import children
from tests.support.waiting.until import wait_until
from vedette.validate.frame_tap import FrameTap


@pytest.fixture
def unharmed() -> Iterator[None]:
    """Check that no process and no descriptor of a child is left after a test."""
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    gc.collect()
    assert wait_until(lambda: children() == [])     # a child of low priority takes a while to end on a busy machine
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.fixture
def tap() -> Iterator[FrameTap]:
    """A frame tap; closing it twice is safe."""
    tap = FrameTap()
    yield tap
    tap.close()
    tap.close()
