"""The capture child: opens the source, plays it, names its failures, and tries again.

Invariants:
- A failure is named before the source is closed, since closing may hang; then the owner knows what it waits for.
- A source that may return is opened again with backoff, for ever; of one that cannot, the end is final.
- Only the standard library, numpy, OpenCV and `vedette.camera` are imported: this process must stay small.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from typing import TYPE_CHECKING, Literal, NoReturn

import cv2

from vedette._lib.child import MESSAGE_BYTES, begin_as_child
from vedette.camera.child.memory import MemoryLimit
from vedette.camera.child.open_source import open_source
from vedette.camera.child.owner_socket import OwnerLeft, OwnerSocket
from vedette.camera.child.player import PictureFrozen, Player
from vedette.camera.child.source import ReadStalled
from vedette.camera.restart_policy import STEADY_S, reopen_delay_s
from vedette.camera.settings import PLACES, CaptureSettings
from vedette.camera.shared_frames import SharedFrames
from vedette.camera.wire import Final, Opening, Trouble
from vedette.errors import SourceEnded, SourceError, SourceInvalid, SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.camera.child.source import Source

OPEN_WITHIN_S = 8.0
"""Until the first frame. One that hangs from its start is noticed after so long, and the next one needs a moment more:
frames must flow again within 10 s after the fault's end."""
CLOSE_WITHIN_S = 2.0
WAIT_S = 60.0


class Capture:
    """One source, opened as often as it takes."""

    def __init__(self, link: OwnerSocket, settings: CaptureSettings, player: Player,
                 opener: Callable[[CaptureSettings], Source], memory: MemoryLimit) -> None:
        self._link = link
        self._settings = settings
        self._player = player
        self._opener = opener
        self._memory = memory
        self._attempt = 0

    def run(self) -> NoReturn:
        """Capture until the owner leaves. Raises: OwnerLeft."""
        while True:
            self._link.say(Opening(OPEN_WITHIN_S))
            opened = time.monotonic()
            delay_s = self._play_once()
            self._link.wait_until(time.monotonic_ns() + int(delay_s * 1e9))
            self._attempt = 0 if time.monotonic() - opened > STEADY_S + delay_s else self._attempt + 1

    def _play_once(self) -> float:
        """Play the source until it fails and close it; returns the seconds to wait before opening it again."""
        self._memory.begin()
        try:
            source = self._opener(self._settings)
        except SourceError as failure:
            return self._tell(failure)
        with contextlib.closing(source):
            try:
                self._play(source)
            except SourceError as failure:
                delay_s = self._tell(failure)
                if not source.reusable:
                    sys.exit(f"{failure}: this source needs a new process")
                return delay_s

    def _play(self, source: Source) -> NoReturn:
        try:
            self._player.play(source)
        except MemoryError as failure:
            what = shown(self._settings.source)
            raise SourceInvalid(f"{what}: a picture wants more than the {self._memory}") from failure

    def _tell(self, failure: SourceError) -> float:
        if isinstance(failure, PictureFrozen) or (isinstance(failure, SourceEnded) and self._settings.loop):
            return 0.0
        if not self._settings.may_return:
            self._finish(failure)
        delay_s = reopen_delay_s(self._attempt)
        stalled = isinstance(failure, ReadStalled)
        self._link.say(Trouble("stalled" if stalled else "offline", self._memory.explain(str(failure)),
                               delay_s + CLOSE_WITHIN_S))
        return delay_s

    def _finish(self, failure: SourceError) -> NoReturn:
        missing: Literal["missing", "invalid"] = "missing" if isinstance(failure, SourceMissing) else "invalid"
        self._link.say(Final("ended" if isinstance(failure, SourceEnded) else missing,
                             self._memory.explain(str(failure)), WAIT_S))
        while True:
            self._link.listen(WAIT_S)


def main(opener: Callable[[CaptureSettings], Source] = open_source) -> None:
    """Be the child of a Session."""
    owner = begin_as_child()
    cv2.setNumThreads(1)
    message, fds, _, _ = socket.recv_fds(owner, MESSAGE_BYTES, 1)
    first, settings_json = message.split(b"\n", 1)
    settings = CaptureSettings.from_json(settings_json)
    places = SharedFrames(PLACES, settings.place_bytes, fds[0])
    link = OwnerSocket(owner)
    player = Player(link, places, settings, json.loads(first)["first_seq"])
    with contextlib.suppress(OwnerLeft):
        Capture(link, settings, player, opener, MemoryLimit(settings)).run()


if __name__ == "__main__":
    main()
