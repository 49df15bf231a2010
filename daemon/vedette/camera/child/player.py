"""Plays one open source after the other into slots, each frame at its time.

Invariants:
- The player never waits for the detector. If no slot is free, the frame is dropped and counted: it uses up a seq.
  Only with `every_frame` does the player wait.
- With `every_frame` each frame of a film comes once. A child that replaces another continues where that one died.
- A picture that cannot be decoded is skipped. It is not captured, so it uses up no seq.
- The last picture stays unchanged while another slot is free, so that the next picture can be compared with it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from vedette.camera.child.cadence import Decimation, Playback
from vedette.camera.child.damage import Damage
from vedette.camera.child.gate import MotionGate
from vedette.camera.child.shape import Shaper
from vedette.camera.child.source import PictureDamaged
from vedette.camera.child.watch import PictureWatch, RateWatch
from vedette.camera.settings import SLOTS
from vedette.camera.wire import FrameReady, Trouble, Waiting
from vedette.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.child.owner_socket import OwnerSocket
    from vedette.camera.child.source import Source
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.shared_frames import SharedFrames
    from vedette.types import ReasonCode

WAIT_S = 1.0
SKIPPING_REPORT_NS = WAITING_REPORT_NS = 1_000_000_000
SIZE_NOTED_NS = 8_000_000_000


class PictureFrozen(SourceError):
    """The source repeats one picture. Reopening it may help."""


class Player:
    """What lasts from one opening of the source to the next: the slots, the seq, the last picture."""

    def __init__(self, owner: OwnerSocket, frames: SharedFrames, settings: CaptureSettings, first_seq: int) -> None:
        self._owner = owner
        self._settings = settings
        self._slots = [np.frombuffer(frames.view(slot), np.uint8) for slot in range(SLOTS)]
        self._seq = first_seq - 1
        self._to_skip = self._seq if settings.every_frame and not settings.loop else 0   # by a child that died
        self._shaper = Shaper(settings)
        self._pictures = PictureWatch(settings.frozen_after_s)
        self._gate = MotionGate(settings.gate_every_s)
        self._last_slot = -1
        self._last_picture: NDArray[np.uint8] | None = None
        self._damage = Damage(settings.stall_s)
        self._size_changes = 0
        self._size_noted_until_ns = 0

    @property
    def captured(self) -> int:
        """The number of the last frame."""
        return self._seq

    def play(self, source: Source) -> NoReturn:
        """Play until the source fails. Raises: SourceError, its subclass PictureFrozen, OwnerLeft."""
        rates = RateWatch(self._settings.expected_fps, source.fps)
        decimation = Decimation(self._settings.fps)
        playback = Playback()
        last_ns = 0
        self._skip_delivered(source)
        while True:
            try:
                captured_ns = self._grab(source, rates, playback)
                if not self._settings.every_frame:
                    # A clock that does not advance is reported (camera_rate). It must not starve the detector too.
                    wanted = decimation.keep(captured_ns if captured_ns > last_ns else time.monotonic_ns())
                    last_ns = captured_ns
                    if not wanted:
                        continue
                    self._wait_until(captured_ns)
                self._deliver(source, captured_ns, rates)
                self._damage.passed()
            except PictureDamaged as damaged:
                self._damage.skip(damaged, live=source.live)
                self._owner.send(Waiting(self._settings.stall_s))

    def _wait_until(self, moment_ns: int) -> None:
        """Wait until that moment of the monotonic clock. During a gap, say that nothing is wrong."""
        while moment_ns - time.monotonic_ns() > WAITING_REPORT_NS:
            self._owner.send(Waiting(self._settings.stall_s))
            self._owner.wait_until(time.monotonic_ns() + WAITING_REPORT_NS)
        self._owner.wait_until(moment_ns)

    def _grab(self, source: Source, rates: RateWatch, playback: Playback) -> int:
        """Grab the next frame. Return its capture time, or for a film the time to show it."""
        self._stamp_ns = stamp_ns = source.grab()
        self._owner.receive(0)
        if source.live:
            captured_ns = min(stamp_ns, time.monotonic_ns())
            rates.arrived(captured_ns, time.monotonic_ns())
            return captured_ns
        if self._settings.every_frame:
            return time.monotonic_ns()
        return playback.due_ns(stamp_ns, time.monotonic_ns())

    def _skip_delivered(self, source: Source) -> None:
        reported_ns = time.monotonic_ns()
        while self._to_skip:
            with contextlib.suppress(PictureDamaged):
                source.grab()
                self._to_skip -= 1
            if time.monotonic_ns() - reported_ns > SKIPPING_REPORT_NS:
                cause = f"continues where the last child died; {self._to_skip} frames left to skip"
                self._owner.send(Trouble("offline", cause, self._settings.stall_s))
                reported_ns = time.monotonic_ns()

    def _deliver(self, source: Source, captured_ns: int, rates: RateWatch) -> None:
        slot = self._free_slot()
        if slot is None:
            self._seq += 1
            return
        picture = self._shaper.read(source, self._slots[slot])
        now_ns = time.monotonic_ns()
        self._pictures.check(picture, self._last_picture if slot != self._last_slot else None, now_ns)
        self._last_slot, self._last_picture = slot, picture
        self._seq += 1
        still = self._gate.is_still(picture, self._stamp_ns)
        if not (still and source.live and self._gate.keeps_back(now_ns, is_open=self._owner.gate_is_open)):
            view, scaling = self._pictures.take_view(), self._owner.scaling
            self._owner.hand_over(FrameReady(
                self._seq, slot, picture.shape[0], picture.shape[1], captured_ns, self._settings.stall_s,
                self._pictures.brightness, self._pictures.contrast,
                self._pictures.reasons() + rates.reasons() + self._size_reason(now_ns) + self._damage.reasons(now_ns),
                self._shaper.scale(picture, self._slots[slot], scaling) or (),
                (view.detail, view.focus) if view else (), view.outline.hex() if view else "",
                still, self._gate.take_kept_back(),
                self._stamp_ns if self._settings.every_frame and not source.live else None), slot)
        if source.live and source.reusable and self._pictures.take_frozen():
            raise PictureFrozen("the same picture again and again")

    def _free_slot(self) -> int | None:
        slot = self._owner.free_slot(self._last_slot)
        while slot is None and self._settings.every_frame:
            self._owner.receive(WAIT_S)
            slot = self._owner.free_slot(self._last_slot)
        return slot

    def _size_reason(self, now_ns: int) -> tuple[ReasonCode, ...]:
        if self._shaper.size_changes != self._size_changes:
            self._size_changes = self._shaper.size_changes
            self._size_noted_until_ns = now_ns + SIZE_NOTED_NS
        return ("camera_size",) if now_ns < self._size_noted_until_ns else ()
