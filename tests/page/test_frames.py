"""The newest picture of a daemon for its viewers: its result inside, asked once for all, never queued."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.network.local_rig import Rig, started
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette.errors import DaemonAway
from vedette.page.frames import FrameFeed, with_comment
from vedette.serve.local.client import LocalClient


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(Rig(tmp_path)) as one:
        yield one


def comment_of(jpeg: bytes) -> bytes:
    """The bytes of the comment segments straight after the first marker, joined."""
    assert jpeg[:2] == b"\xff\xd8"
    at, comment = 2, b""
    while jpeg[at:at + 2] == b"\xff\xfe":
        length = int.from_bytes(jpeg[at + 2:at + 4], "big")
        comment += jpeg[at + 4:at + 2 + length]
        at += 2 + length
    return comment


def jpeg_of(grey: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), grey, np.uint8))[1].tobytes()


@pytest.mark.parametrize("length", [0, 1, 65_533, 65_534, 200_000])
def test_a_comment_of_any_length_leaves_a_readable_picture(length: int) -> None:
    """It is read back as it was, and the picture has its pixels."""
    comment = bytes(range(256)) * (length // 256 + 1)
    marked = with_comment(jpeg_of(77), comment[:length])
    assert comment_of(marked) == comment[:length]
    assert (present(cv2.imdecode(np.frombuffer(marked, np.uint8), cv2.IMREAD_COLOR)) == 77).all()


def test_what_is_no_jpeg_is_refused() -> None:
    """No half of a picture gets a result."""
    with pytest.raises(ValueError, match="not a JPEG"):
        with_comment(b"GIF89a", b"{}")


def test_a_picture_carries_the_result_of_its_frame(rig: Rig) -> None:
    """The grey of the picture is that of the frame which the result in it names."""
    feed = FrameFeed(LocalClient(rig.path))
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(feed.newer, None, 20.0)
        assert wait_until(lambda: rig.see(rig.seq * 16 % 256) and asked.done())
    picture = present(asked.result())
    result = json.loads(comment_of(picture.jpeg))
    grey = present(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)).mean()
    assert result["seq"] == picture.seq
    assert abs(float(grey) - (result["frame"]["seq"] - 1) * 16 % 256) < 3


def test_many_viewers_cost_one_question(rig: Rig) -> None:
    """Eight viewers who wait get the same picture, and the daemon has one client."""
    feed = FrameFeed(LocalClient(rig.path))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(feed.newer, None, 20.0) for _ in range(8)]
        most = 0

        def all_served() -> bool:
            nonlocal most
            most = max(most, rig.clients)
            rig.see()
            return all(each.done() for each in asked)
        assert wait_until(all_served)
    assert most == 1
    assert all(present(each.result()).jpeg for each in asked)


def test_the_same_picture_is_not_given_twice(rig: Rig) -> None:
    """A viewer that has the newest waits for a newer one, and gets none where none comes."""
    feed = FrameFeed(LocalClient(rig.path))
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(feed.newer, None, 20.0)
        assert wait_until(lambda: rig.see() and asked.done())
    seq = present(asked.result()).seq
    assert feed.newer(seq, 0.2) is None
    assert present(feed.newer(None, 0.2)).seq == seq


def test_a_daemon_that_is_away_is_an_error_for_each_viewer(tmp_path: Path) -> None:
    """Nobody waits for the whole time, and the feed works on once the daemon is back."""
    feed = FrameFeed(LocalClient(tmp_path / "socket"))
    for _ in range(2):
        with pytest.raises(DaemonAway):
            feed.newer(None, 20.0)
    with started(Rig(tmp_path)) as rig, ThreadPoolExecutor() as pool:
        asked = pool.submit(feed.newer, None, 20.0)
        assert wait_until(lambda: rig.see() and asked.done())
    assert present(asked.result()).jpeg
