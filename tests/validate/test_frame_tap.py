"""The tap: one frame when one is wanted, its pixels where a child can read them, and nothing else."""

from __future__ import annotations

import gc
import mmap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from vedette.types import Box, Detection
from vedette.validate.frame_tap import FrameTap

PERSON = Detection("person", 0, 0.8, Box(0.1, 0.1, 0.3, 0.5))


def shared_memories() -> int:
    """How many descriptors of ours are shared memory; each slot has its own and that of its mapping."""
    open_files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("vedette-frames" in str(file) for file in open_files)


def painted(width: int = 8, height: int = 6, byte: int = 7, seq: int = 1):
    frame = make_frame(FakeClock(), seq, width, height)
    frame.pixels.cast("B")[:] = bytes([byte]) * frame.pixels.nbytes
    return make_result(frame, (PERSON,))


@pytest.fixture
def tap():
    tap = FrameTap()
    yield tap
    tap.close()
    tap.close()


def test_an_unwanted_frame_is_let_by(tap):
    """Nothing is copied, kept or allocated."""
    tap(painted())
    assert tap.take(0) is None
    assert repr(tap) == "<FrameTap idle None>"


def test_a_wanted_frame_is_copied_with_its_result(tap):
    """The next one only, as it was when it passed; its pixels stand in the memory that others can map."""
    tap.want()
    result = painted(seq=5)
    tap(result)
    result.frame.pixels.cast("B")[:] = bytes(result.frame.pixels.nbytes)      # the camera has its place back
    tap(painted(byte=9, seq=6))
    tapped = tap.take(0)
    assert (tapped.seq, tapped.height, tapped.width, tapped.detections) == (5, 6, 8, (PERSON,))
    assert (tapped.timing, tapped.model) == (result.timing, result.model)
    assert bytes(mmap.mmap(tapped.memory.fd, 144, prot=mmap.PROT_READ)) == bytes([7]) * 144
    assert tap.take(0) is None


def test_the_cloud_is_not_compared_with(tap):
    """Only what the model on this device saw says something of it."""
    tap.want()
    tap(replace(painted(), source="cloud"))
    assert tap.take(0) is None
    tap(painted())
    assert tap.take(0) is not None


def test_a_late_frame_can_be_taken_later(tap):
    """A wish holds until it is fulfilled; a new wish gives up what came before it."""
    tap.want()
    assert tap.take(0.001) is None
    tap(painted(seq=1))
    assert tap.take(0).seq == 1
    tap.want()
    tap(painted(seq=2))
    tap.want()
    assert tap.take(0.001) is None
    tap(painted(seq=3))
    assert tap.take(0).seq == 3


def test_the_next_frame_may_be_one_that_came_late(tap):
    """Rare frames are not given up between two looks: the one that came meanwhile is taken, each once."""
    assert tap.next(0.001) is None
    tap(painted(seq=1))
    tap(painted(seq=2))
    assert tap.next(0.001).seq == 1
    assert tap.next(0.001) is None
    tap(painted(seq=3))
    assert tap.next(0.001).seq == 3
    tap(painted(seq=4))
    assert tap.next(0.001) is None


def test_a_frame_of_another_size_gets_memory_of_its_own(tap):
    """The same size uses the same memory again; descriptors do not add up."""
    gc.collect()        # what other tests have let go of
    others = shared_memories()
    last, news = None, []
    for width in (8, 8, 16, 8, 16):
        tap.want()
        tap(painted(width))
        memory = tap.take(0).memory
        news.append(memory is not last)
        last = memory
    assert news == [True, False, True, True, True]
    assert shared_memories() == others + 2
    tap.close()
    del last, memory
    assert shared_memories() == others


def test_a_waiting_thread_is_woken(tap):
    """`take` waits on another thread for the frame, as the update thread does."""
    taken = []
    tap.want()
    thread = threading.Thread(target=lambda: taken.append(tap.take(30)))
    thread.start()
    tap(painted())
    thread.join(60)
    assert taken[0].seq == 1


def test_every_tapped_frame_is_whole(tap):
    """With one thread that publishes and one that wants, no picture is a mixture of two."""
    stop = threading.Event()
    results = [painted(64, 48, byte, seq=byte) for byte in range(1, 200)]

    def publish():
        while not stop.is_set():
            for result in results:
                tap(result)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(300):
            tap.want()
            tapped = tap.take(30)
            assert set(bytes(tapped.memory.view(0))) == {tapped.seq}
    finally:
        stop.set()
        thread.join(60)


def test_after_closing_it_can_be_used_again(tap):
    """As for the next candidate."""
    for _ in range(2):
        tap.want()
        tap(painted())
        assert tap.take(0) is not None
        tap.close()
        assert repr(tap) == "<FrameTap idle None>"
