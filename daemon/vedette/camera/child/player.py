"""Plays one open source after the other into places, each frame at its time.

Invariants:
- It never waits for the detector: with no free place a frame is counted (its seq is used up) and dropped. Only a
  film of which every frame is wanted waits.
- Where every frame of a film is wanted, each comes once: a child that follows another goes on where that one died.
- The picture of the last frame stays untouched while another place is free, so the next one can be compared with it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from vedette.camera.child.cadence import Decimation, Playback
from vedette.camera.child.shape import Shaper
from vedette.camera.child.watch import PictureWatch, RateWatch
from vedette.camera.settings import PLACES
from vedette.camera.wire import FrameReady, Trouble
from vedette.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.child.owner_socket import OwnerSocket
    from vedette.camera.child.source import Source
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.shared_frames import SharedFrames

WAIT_S = 1.0
SKIPPING_SAID_NS = 1_000_000_000
SIZE_NOTED_NS = 8_000_000_000


class PictureFrozen(SourceError):
    """The source repeats one picture; opening it anew may help."""


class Player:
    """What lasts from one opening of the source to the next: the places, the seq, the picture last shown."""

    def __init__(self, link: OwnerSocket, places: SharedFrames, settings: CaptureSettings, first_seq: int) -> None:
        self._link = link
        self._settings = settings
        self._places = [np.frombuffer(places.view(place), np.uint8) for place in range(PLACES)]
        self._seq = first_seq - 1
        self._seen = self._seq if settings.every_frame and not settings.loop else 0   # through a child that died
        self._shaper = Shaper(settings)
        self._pictures = PictureWatch(settings.frozen_after_s)
        self._last_place = -1
        self._last_picture: NDArray[np.uint8] | None = None
        self._size_changes = 0
        self._size_noted_until_ns = 0

    def play(self, source: Source) -> NoReturn:
        """Play until the source fails. Raises: SourceError, its subclass PictureFrozen, OwnerLeft."""
        rates = RateWatch(self._settings.fps, source.fps)
        decimation = Decimation(self._settings.fps)
        playback = Playback()
        last_ns = 0
        self._skip_seen(source)
        while True:
            stamp_ns = source.grab()
            self._link.listen(0)
            if source.live:
                captured_ns = min(stamp_ns, time.monotonic_ns())
                rates.arrived(captured_ns, time.monotonic_ns())
            elif self._settings.every_frame:
                captured_ns = time.monotonic_ns()
            else:
                captured_ns = playback.due_ns(stamp_ns, time.monotonic_ns())
            if not self._settings.every_frame:
                # A clock that does not advance is named (camera_rate), and must not starve the detector besides.
                wanted = decimation.keep(captured_ns if captured_ns > last_ns else time.monotonic_ns())
                last_ns = captured_ns
                if not wanted:
                    continue
                self._link.wait_until(captured_ns)
            self._show(source, captured_ns, rates)

    def _skip_seen(self, source: Source) -> None:
        said_ns = time.monotonic_ns()
        while self._seen:
            source.grab()
            self._seen -= 1
            if time.monotonic_ns() - said_ns > SKIPPING_SAID_NS:
                self._link.say(Trouble("offline", f"going on where the last child died; {self._seen} frames to skip",
                                       self._settings.stall_s))
                said_ns = time.monotonic_ns()

    def _show(self, source: Source, captured_ns: int, rates: RateWatch) -> None:
        place = self._free_place()
        if place is None:
            self._seq += 1
            return
        picture = self._shaper.read(source, self._places[place])
        scaling = self._shaper.scale(picture, self._places[place], self._link.scaling)
        now_ns = time.monotonic_ns()
        self._pictures.look(picture, self._last_picture if place != self._last_place else None, now_ns)
        view = self._pictures.take_view()
        self._seq += 1
        self._link.hand_over(FrameReady(
            self._seq, place, picture.shape[0], picture.shape[1], captured_ns, self._next_within_s(source),
            self._pictures.brightness, self._pictures.contrast,
            self._pictures.reasons() + rates.reasons() + self._size_reason(now_ns),
            scaling or (), (view.detail, view.focus) if view else (),
            view.outline.hex() if view else ""), place)
        self._last_place, self._last_picture = place, picture
        if source.live and source.reusable and self._pictures.take_frozen():
            raise PictureFrozen("the same picture again and again")

    def _free_place(self) -> int | None:
        place = self._link.free_place(self._last_place)
        while place is None and self._settings.every_frame:
            self._link.listen(WAIT_S)
            place = self._link.free_place(self._last_place)
        return place

    def _next_within_s(self, source: Source) -> float:
        """Return the stall limit; a film may be slower than what was asked."""
        own_s = 3.0 / source.fps if source.fps and not source.live else 0.0
        return max(self._settings.stall_s, own_s)

    def _size_reason(self, now_ns: int) -> tuple[str, ...]:
        if self._shaper.size_changes != self._size_changes:
            self._size_changes = self._shaper.size_changes
            self._size_noted_until_ns = now_ns + SIZE_NOTED_NS
        return ("camera_size",) if now_ns < self._size_noted_until_ns else ()
