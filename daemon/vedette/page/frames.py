"""The newest picture of one daemon, for all its viewers.

Invariants:
- However many view, one request at a time asks the daemon. Without a viewer nothing is asked.
- A picture carries its result, so boxes and picture belong together: the result's JSON is in comment segments of the
  JPEG (ITU-T T.81, B.2.4.5), straight after its first marker.
- No viewer waits for another: each gets the newest picture, and a slow one misses pictures.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.errors import DaemonAway

if TYPE_CHECKING:
    from vedette.serve.local.client import LocalClient

SEGMENT_BYTES = 0xFFFF - 2
FRESH_S = 0.3
"""So long a picture may be handed to a viewer that does not have it, without asking for a newer one."""
SPARE_S = 5.0
_START, _COMMENT = b"\xff\xd8", b"\xff\xfe"


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame: the number of its result in the daemon's run, and the JPEG that carries the result."""

    seq: int
    jpeg: bytes
    got_s: float


class FrameFeed:
    """Any thread."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._newest: Picture | None = None
        self._is_asking = False

    def newer(self, after: int | None, within_s: float) -> Picture | None:
        """Return the newest picture that is not `after`, or None if there is none in time. Raises: DaemonAway."""
        until_s = time.monotonic() + within_s
        with self._changed:
            while True:
                newest, left_s = self._newest, until_s - time.monotonic()
                if newest is not None and newest.seq != after and time.monotonic() - newest.got_s < FRESH_S:
                    return newest
                if not self._is_asking:
                    break
                if left_s <= 0 or not self._changed.wait(left_s):
                    return None
            self._is_asking = True
        try:
            got = self._ask(None if newest is None else newest.seq, max(0.0, left_s))
        finally:
            with self._changed:
                self._is_asking = False
                self._changed.notify_all()
        return got if got is None or got.seq != after else None

    def _ask(self, known: int | None, within_s: float) -> Picture | None:
        query = f"?wait={within_s:.3f}" + (f"&after={known}" if known is not None else "")
        body = self._client.ask("GET", f"/frame{query}", within_s=within_s + SPARE_S)
        result, _, jpeg = body.partition(b"\n")
        if not jpeg:
            with self._changed:
                return self._newest
        try:
            picture = Picture(int(json.loads(result)["seq"]), with_comment(jpeg, result), time.monotonic())
        except (ValueError, KeyError, TypeError) as error:
            raise DaemonAway(f"{self._client.path}: a picture of unknown shape") from error
        with self._changed:
            self._newest = picture
        return picture


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """Return the JPEG with a comment, in as many segments as it needs. Raises: ValueError if it is no JPEG."""
    if not jpeg.startswith(_START):
        raise ValueError("not a JPEG")
    parts = [comment[at:at + SEGMENT_BYTES] for at in range(0, len(comment), SEGMENT_BYTES)]
    segments = (_COMMENT + (len(part) + 2).to_bytes(2, "big") + part for part in parts)
    return b"".join((_START, *segments, memoryview(jpeg)[2:]))
