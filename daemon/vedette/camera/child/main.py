"""The capture child: it opens the source, plays it, reports its failures, and tries again.

Invariants:
- A failure is reported before the source is closed. Closing may hang, and then the owner already knows the cause.
- A source that may return is reopened with backoff, without end. So is one that was only slow. Any other end is final.
- A source that did not answer in time gets more time at its next opening.
- This process must stay small. It imports only the standard library, numpy, OpenCV, `vedette.camera` and what that
  needs of `_lib`, `net`, `vision`, `errors` and `types`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NoReturn

import cv2

from vedette._lib.child import MESSAGE_BYTES, begin_as_child
from vedette.camera.child.memory import MemoryLimit
from vedette.camera.child.open_source import open_source
from vedette.camera.child.owner_socket import OwnerLeft, OwnerSocket
from vedette.camera.child.picture_encoder import PictureEncoder
from vedette.camera.child.player import PictureFrozen, Player
from vedette.camera.child.source import NoAnswer, ReadStalled
from vedette.camera.restart_policy import STEADY_S, reopen_delay_s
from vedette.camera.settings import SLOTS, CaptureSettings
from vedette.camera.shared_frames import SharedFrames
from vedette.camera.wire import Final, Opening, Trouble
from vedette.errors import SourceEnded, SourceError, SourceInvalid, SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.camera.child.source import Source

OPEN_MARGIN_S = 1.0
"""The source gives up this long before the owner takes the child for hung."""
CLOSE_WITHIN_S = 2.0
WAIT_S = 60.0


class Capture:
    """One source, reopened as often as necessary."""

    def __init__(self, owner: OwnerSocket, settings: CaptureSettings, player: Player,
                 opener: Callable[[CaptureSettings], Source], memory: MemoryLimit) -> None:
        self._owner = owner
        self._settings = settings
        self._player = player
        self._opener = opener
        self._memory = memory
        self._attempt = 0

    def run(self) -> NoReturn:
        """Capture until the owner leaves. Raises: OwnerLeft."""
        while True:
            to_keyframe_s = self._settings.stall_s - self._settings.silence_s
            self._owner.send(Opening(self._settings.open_limit_s + to_keyframe_s + OPEN_MARGIN_S))
            opened, frames = time.monotonic(), self._player.captured
            delay_s = self._play_once()
            if self._player.captured > frames:
                self._settings = replace(self._settings, slow_openings=0)
            self._owner.wait_until(time.monotonic_ns() + int(delay_s * 1e9))
            self._attempt = 0 if time.monotonic() - opened > STEADY_S + delay_s else self._attempt + 1

    def _play_once(self) -> float:
        """Play the source until it fails, then close it. Return the seconds to wait before reopening it."""
        self._memory.reset_peak()
        try:
            source = self._opener(self._settings)
        except SourceError as failure:
            return self._report(failure)
        with contextlib.closing(source):
            try:
                self._play(source)
            except SourceError as failure:
                delay_s = self._report(failure)
                if not source.reusable:
                    sys.exit(f"{failure}: this source needs a new process")
                return delay_s

    def _play(self, source: Source) -> NoReturn:
        try:
            self._player.play(source)
        except MemoryError as failure:
            what = shown(self._settings.source)
            raise SourceInvalid(f"{what}: a picture needs more than the {self._memory}") from failure

    def _report(self, failure: SourceError) -> float:
        if isinstance(failure, PictureFrozen) or (isinstance(failure, SourceEnded) and self._settings.loop):
            return 0.0
        is_slow = isinstance(failure, ReadStalled | NoAnswer)
        if not (self._settings.may_return or is_slow):
            self._report_final(failure)
        delay_s = reopen_delay_s(self._attempt)
        if is_slow:
            self._settings = replace(self._settings, slow_openings=self._settings.slow_openings + 1)
        self._owner.send(Trouble("stalled" if isinstance(failure, ReadStalled) else "offline",
                                 self._memory.explain(str(failure)), delay_s + CLOSE_WITHIN_S))
        return delay_s

    def _report_final(self, failure: SourceError) -> NoReturn:
        missing: Literal["missing", "invalid"] = "missing" if isinstance(failure, SourceMissing) else "invalid"
        self._owner.send(Final("ended" if isinstance(failure, SourceEnded) else missing,
                             self._memory.explain(str(failure)), WAIT_S))
        while True:
            self._owner.receive(WAIT_S)


def main(opener: Callable[[CaptureSettings], Source] = open_source) -> None:
    """Run the capture child of a Session."""
    endpoint = begin_as_child()
    cv2.setNumThreads(1)
    message, fds, _, _ = socket.recv_fds(endpoint, MESSAGE_BYTES, 1)
    if not message:     # the daemon ended before it had a configuration
        return
    first, settings_json = message.split(b"\n", 1)
    settings = CaptureSettings.from_json(settings_json)
    frames = SharedFrames(SLOTS + 1, settings.slot_bytes, fds[0])
    owner = OwnerSocket(endpoint, PictureEncoder(frames).encode)
    player = Player(owner, frames, settings, json.loads(first)["first_seq"])
    with contextlib.suppress(OwnerLeft):
        Capture(owner, settings, player, opener, MemoryLimit(settings)).run()


if __name__ == "__main__":
    main()
