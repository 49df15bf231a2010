"""The tap: it copies a requested frame to memory that a child can read, and no other frame."""

from __future__ import annotations

import gc
import mmap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.present import present
from vedette.types import Box, Detection, DetectionResult
from vedette.validate.frame_tap import FrameTap

PERSON = Detection("person", 0, 0.8, Box(0.1, 0.1, 0.3, 0.5))


def shared_memories() -> int:
    """Number of this process's descriptors that are shared memory; each memory has its own and one for its mapping."""
    open_files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("vedette-frames" in str(file) for file in open_files)


def painted(width: int = 8, height: int = 6, byte: int = 7, seq: int = 1) -> DetectionResult:
    frame = make_frame(FakeClock(), seq, width, height)
    frame.pixels.cast("B")[:] = bytes([byte]) * frame.pixels.nbytes
    return make_result(frame, (PERSON,))


def test_a_frame_without_a_request_is_ignored(tap: FrameTap) -> None:
    """Nothing is copied, kept or allocated."""
    tap(painted())
    assert tap.wait(0) is None
    assert repr(tap) == "<FrameTap idle None>"


def test_a_requested_frame_is_copied_with_its_result(tap: FrameTap) -> None:
    """Only the next frame is copied, to memory that others can map; later changes to its pixels have no effect."""
    tap.request()
    result = painted(seq=5)
    tap(result)
    result.frame.pixels.cast("B")[:] = bytes(result.frame.pixels.nbytes)      # the camera uses its slot again
    tap(painted(byte=9, seq=6))
    tapped = present(tap.wait(0))
    assert (tapped.seq, tapped.height, tapped.width, tapped.detections) == (5, 6, 8, (PERSON,))
    assert (tapped.timing, tapped.model) == (result.timing, result.model)
    assert bytes(mmap.mmap(tapped.memory.fd, 144, prot=mmap.PROT_READ)) == bytes([7]) * 144
    assert tap.wait(0) is None


def test_a_result_of_the_cloud_is_ignored(tap: FrameTap) -> None:
    """Only a result of the model on this device can be compared."""
    tap.request()
    tap(replace(painted(), source="cloud"))
    assert tap.wait(0) is None
    tap(painted())
    assert tap.wait(0) is not None


def test_a_late_frame_is_returned_later(tap: FrameTap) -> None:
    """A request stands until a frame comes; a new request drops the frame that came before it."""
    tap.request()
    assert tap.wait(0.001) is None
    tap(painted(seq=1))
    assert present(tap.wait(0)).seq == 1
    tap.request()
    tap(painted(seq=2))
    tap.request()
    assert tap.wait(0.001) is None
    tap(painted(seq=3))
    assert present(tap.wait(0)).seq == 3


def test_the_next_frame_may_be_a_late_one(tap: FrameTap) -> None:
    """A frame that came between two calls is returned by the next call, once, so that rare frames are not lost."""
    assert tap.next(0.001) is None
    tap(painted(seq=1))
    tap(painted(seq=2))
    assert present(tap.next(0.001)).seq == 1
    assert tap.next(0.001) is None
    tap(painted(seq=3))
    assert present(tap.next(0.001)).seq == 3
    tap(painted(seq=4))
    assert tap.next(0.001) is None


def test_a_frame_of_another_size_gets_memory_of_its_own(tap: FrameTap) -> None:
    """The same size uses the same memory again; descriptors do not add up."""
    gc.collect()        # frees the garbage of other tests
    others = shared_memories()
    last, news = None, []
    for width in (8, 8, 16, 8, 16):
        tap.request()
        tap(painted(width))
        memory = present(tap.wait(0)).memory
        news.append(memory is not last)
        last = memory
    assert news == [True, False, True, True, True]
    assert shared_memories() == others + 2
    tap.close()
    del last, memory
    assert shared_memories() == others


def test_a_waiting_thread_is_woken(tap: FrameTap) -> None:
    """`wait` waits on another thread for the frame, as the update thread does."""
    taken = []
    tap.request()
    thread = threading.Thread(target=lambda: taken.append(tap.wait(30)))
    thread.start()
    tap(painted())
    thread.join(60)
    assert present(taken[0]).seq == 1


@pytest.mark.slow
def test_every_tapped_frame_is_whole(tap: FrameTap) -> None:
    """One thread publishes and one requests: no picture is a mixture of two frames."""
    stop = threading.Event()
    results = [painted(64, 48, byte, seq=byte) for byte in range(1, 200)]

    def publish() -> None:
        while not stop.is_set():
            for result in results:
                tap(result)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(300):
            tap.request()
            tapped = present(tap.wait(30))
            assert set(bytes(tapped.memory.view(0))) == {tapped.seq}
    finally:
        stop.set()
        thread.join(60)


def test_after_closing_it_can_be_used_again(tap: FrameTap) -> None:
    """The next candidate uses the same tap."""
    for _ in range(2):
        tap.request()
        tap(painted())
        assert tap.wait(0) is not None
        tap.close()
        assert repr(tap) == "<FrameTap idle None>"
