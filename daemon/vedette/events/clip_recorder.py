"""Keeps the last seconds in memory as JPEGs, and writes a clip around each event.

Invariants:
- Nothing is written while no event is open and none ended in the last AFTER_S.
- Events that overlap share a clip; it is named by the first of them. No clip has more than MOST_S.
- The times of the pictures are those of their frames, in steps of 1 / PER_S.
- Memory is bounded: RING_S and RING_BYTES. A clip under way is in its file.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vedette.events.avi import AviWriter

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from vedette.events.clip_folder import ClipFolder

log = logging.getLogger(__name__)

PER_S = 10
SLOT_NS = 10 ** 9 // PER_S
BEFORE_S, AFTER_S, MOST_S = 5, 5, 60
RING_S = 10
"""An event is known only some time after its start, so this is more than BEFORE_S."""
RING_BYTES = 16_000_000
_OVERHEAD_BYTES = 16_000
"""More than what a file of MOST_S has apart from its pictures."""
LATE_S = 5
"""A clip whose time is over waits so long for frames that are still under way."""
_S = 10 ** 9


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame as a JPEG; `shape` is (width, height) in pixels, `captured_ns` is on the clock of Frame.scene_s."""

    captured_ns: int
    captured_at: datetime
    jpeg: bytes
    shape: tuple[int, int]

    @property
    def slot(self) -> int:
        """The step of 1 / PER_S in which it was captured, on the monotonic clock."""
        return self.captured_ns // SLOT_NS


@dataclass(slots=True)
class _Clip:
    event_id: str
    label: str
    begin_ns: int
    until_ns: int
    open_events: set[str] = field(default_factory=set)
    writer: AviWriter | None = None
    paths: tuple[Path, Path] | None = None
    shape: tuple[int, int] | None = None


class ClipRecorder:
    """Records into one folder. One thread. Raises: OSError where the folder fails; call `abandon` then."""

    def __init__(self, folder: ClipFolder) -> None:
        self.folder = folder
        self.written = 0
        """Complete clips of this run."""
        self._ring: deque[Shot] = deque()
        self._ring_bytes = 0
        self._clip: _Clip | None = None

    def __repr__(self) -> str:
        return f"<ClipRecorder {self.folder!r} {len(self._ring)} shots, {self._ring_bytes} bytes>"

    @property
    def is_recording(self) -> bool:
        """Whether a clip is under way."""
        return self._clip is not None

    def began(self, event_id: str, label: str, at_ns: int, now: datetime | None) -> None:
        """Begin a clip with what is kept of the time before `at_ns`, or go on with the one under way.

        `now`: as in `ClipFolder.tidy`.
        """
        if self._clip is None:
            begin_ns = at_ns - BEFORE_S * _S
            self._clip = _Clip(event_id, label, begin_ns, begin_ns + MOST_S * _S)
            self.folder.tidy(now)
            for shot in tuple(self._ring):
                if shot.captured_ns >= begin_ns and shot.shape == self._ring[-1].shape:
                    self._write(shot)
        if self._clip is not None:
            self._clip.open_events.add(event_id)
            self._clip.until_ns = self._clip.begin_ns + MOST_S * _S

    def ended(self, event_id: str, at_ns: int) -> None:
        """End the clip AFTER_S later, if no other event of it is open."""
        clip = self._clip
        if clip is not None and event_id in clip.open_events:
            clip.open_events.discard(event_id)
            if not clip.open_events:
                clip.until_ns = min(clip.until_ns, at_ns + AFTER_S * _S)

    def add(self, shot: Shot) -> None:
        """Take the newest frame."""
        self._ring.append(shot)
        self._ring_bytes += len(shot.jpeg)
        while self._ring_bytes > RING_BYTES or shot.captured_ns - self._ring[0].captured_ns > RING_S * _S:
            self._ring_bytes -= len(self._ring.popleft().jpeg)
        self._write(shot)

    def tick(self, now_ns: int) -> None:
        """Complete a clip whose time is over, although no frames come."""
        if self._clip is not None and now_ns > self._clip.until_ns + LATE_S * _S:
            self.finish()

    def finish(self) -> None:
        """Complete the clip under way, if there is one."""
        clip = self._clip
        if clip is not None and clip.writer is not None and clip.paths is not None:
            clip.writer.close()
            clip.paths[0].rename(clip.paths[1])
            self.written += 1
            log.info("clip %s: %d bytes", clip.paths[1].name, clip.writer.size_bytes)
        self._clip = None

    def abandon(self) -> bool:
        """Drop the clip under way and its file; returns whether there was one."""
        clip, self._clip = self._clip, None
        if clip is not None and clip.writer is not None and clip.paths is not None:
            clip.writer.abandon()
            with contextlib.suppress(OSError):
                clip.paths[0].unlink()
        return clip is not None

    def _write(self, shot: Shot) -> None:
        """Add a frame to the clip under way, or complete the clip if the frame does not belong to it any more."""
        clip = self._clip
        if clip is None:
            return
        size_bytes = len(shot.jpeg) + _OVERHEAD_BYTES + (clip.writer.size_bytes if clip.writer else 0)
        fits = shot.captured_ns <= clip.until_ns and shot.shape == (clip.shape or shot.shape)
        if not fits or not self.folder.make_room(size_bytes):
            self.finish()
            return
        if clip.writer is None:
            clip.paths = self.folder.paths_for(shot.captured_at, clip.event_id, clip.label)
            clip.shape = shot.shape
            clip.writer = AviWriter(clip.paths[0], *shot.shape, PER_S)
        clip.writer.add(shot.jpeg, shot.slot)
