"""Slots of shared memory."""

import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.camera.shared_frames import SharedFrames


def test_both_sides_see_the_same_bytes() -> None:
    """What is written through one mapping of the memfd is read through another."""
    ours = SharedFrames(3, 100)
    theirs = SharedFrames(3, 100, os.dup(ours.fd))
    theirs.view(1)[:3] = b"abc"
    assert bytes(ours.view(1)[:4]) == b"abc\0"
    assert not any(ours.view(0))
    assert not any(ours.view(2))
    ours.close()
    theirs.close()


def test_a_view_outlives_the_memory_object() -> None:
    """A view stays readable after close(), and close() may be called twice."""
    slots = SharedFrames(1, 12)
    view = slots.view(0, (2, 2, 3))
    view[1, 1, 2] = 7
    slots.close()
    slots.close()
    del slots
    assert view.tobytes()[-1] == 7
    assert view.shape == (2, 2, 3)


def test_the_size_is_sealed() -> None:
    """The other side can neither shrink nor grow the memory under us."""
    slots = SharedFrames(1, mmap.PAGESIZE)
    for size in (0, mmap.PAGESIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(slots.fd, size)
    slots.close()


@given(st.integers(-3, 6), st.lists(st.integers(-2, 50), min_size=1, max_size=3))
def test_a_view_fits_or_is_refused(slot: int, shape: list[int]) -> None:
    """A slot that does not exist, or a shape that does not fit, raises ValueError and nothing else."""
    slots = SharedFrames(3, 1000)
    try:
        view = slots.view(slot, tuple(shape))
    except ValueError:
        return
    finally:
        slots.close()
    assert 0 <= slot < 3
    assert view.nbytes <= 1000
    assert all(side > 0 for side in shape)


@pytest.mark.parametrize(("slot", "offset", "fits"), [(0, 88, True), (0, 89, False), (1, 88, True), (1, 89, False)])
def test_a_view_behind_another_one_stays_in_its_slot(slot: int, offset: int, fits: bool) -> None:
    """The next slot may belong to the other side."""
    frames = SharedFrames(2, 100)
    try:
        if fits:
            assert frames.view(slot, (2, 2, 3), offset).nbytes == 12
        else:
            with pytest.raises(ValueError, match="needs 12 bytes"):
                frames.view(slot, (2, 2, 3), offset)
    finally:
        frames.close()
