"""The pictures of a collection in the state folder: their files, their record, their quota and their age.

Invariants:
- A picture tells nothing beside its pixels: PNG without metadata, a name made of its content, a constant file time.
  What else is known of it is in the record, beside the folder.
- Only whole pictures that the record names count. All others are deleted at the next start, and so are pictures that
  were made with other masks, another region or another rotation.
- The quota holds at every moment: pictures are given up before a new one is written.
- Only regular files with the name of a picture are ever deleted. Their owner may delete them at any time.
- FREE_BYTES of the disk are left to others.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from bisect import insort
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, get_args

from vedette._lib.durable import make_folder, replace_file
from vedette._lib.whole_file import read_whole
from vedette.device.wall_clock import SettledClock
from vedette.workshop.selection import Picture, given_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from vedette.config.collect import CollectConfig
    from vedette.ports import Clock

State = Literal["collecting", "stopped", "complete"]
FOLDER, RECORD = "collected", "collected.json"
FREE_BYTES = 100_000_000
CANDIDATES = 20
"""So many frames are considered for each picture that a collection may have."""
FILE_TIME_S = 315_532_800
"""1980-01-01, the first day that every archive format knows."""
_SAVE_EVERY_S = 600.0
_VERSION = 1
_RECORD_BYTES_MAX = 4_000_000
_OWN = re.compile(r"[0-9a-f]{32}\.png")
_UNFINISHED = re.compile(rf"\.{_OWN.pattern}\.\d+\.tmp")
_DAY_S = 86_400
_NAME = attrgetter("name")


@dataclass(frozen=True, slots=True)
class _Saved:
    """The content of the record."""

    view: str = ""
    state: State = "collecting"
    watched_s: float = 0.0
    pictures: tuple[Picture, ...] = ()


class Collection:
    """The pictures of one device. One thread; any may read the public values. Most methods raise OSError.

    `view` names what the pictures may show: masks, region and rotation.
    """

    def __init__(self, state_folder: Path, view: str, clock: Clock) -> None:
        self.path = state_folder / FOLDER
        self.pictures: tuple[Picture, ...] = ()
        """The oldest first."""
        self.state: State = "collecting"
        self.watched_s = 0.0
        """For how long frames have come."""
        self._record = state_folder / RECORD
        self._view = view
        self._clock = clock
        self._settled = SettledClock(clock)
        self._shown: list[float] = []       # the brightness of what the camera has shown, sorted
        self._taken_ns: dict[str, int] = {}     # of the pictures of this run: no step of the wall clock ages them
        self._changed_ns = 0
        self._saved_s = 0.0

    def __repr__(self) -> str:
        return f"<Collection {self.path} {self.state} {len(self.pictures)} pictures>"

    @property
    def size_bytes(self) -> int:
        """The size of all pictures."""
        return sum(picture.size_bytes for picture in self.pictures)

    def load(self) -> None:
        """Read what earlier runs have collected, and delete what does not count. Raises: OSError."""
        saved = self._read()
        found = {path.name for path in picture_files(self.path)}
        valid = {picture.name: picture for picture in saved.pictures if saved.view == self._view}
        self.state, self.watched_s, self._shown = saved.state, saved.watched_s, []
        self.pictures = tuple(picture for name, picture in valid.items() if name in found)
        for path in picture_files(self.path, unfinished=True):
            if path.name not in valid:
                path.unlink(missing_ok=True)
        if saved.pictures and not self.pictures:
            self._begin_anew()
        self._changed_ns = self._folder_ns()
        if self.pictures != saved.pictures:
            self.save()

    def see(self, brightness: float) -> None:
        """Note the brightness of a frame that was due."""
        if not self._shown:     # the pictures stand for what earlier runs were shown
            self._shown = sorted(CANDIDATES * [picture.brightness for picture in self.pictures])
        insort(self._shown, brightness)

    def offer(self, picture: Picture, encode: Callable[[], bytes], limits: CollectConfig) -> bool:
        """Keep a picture if the collection becomes more varied by it; returns whether it is kept.

        `encode` returns its PNG. Name, size and time are filled in here. Raises: OSError.
        """
        if picture in self._surplus((*self.pictures, picture), limits):
            return False
        content = encode()
        new = replace(picture, name=_name_of(content), size_bytes=len(content),
                      at_s=self._clock.utc_now().timestamp())
        surplus = self._surplus((*self.pictures, new), limits)
        if new in surplus or any(each.name == new.name for each in self.pictures):
            return False
        self._check_room()
        self._delete(surplus)
        make_folder(os, str(self.path))
        replace_file(self.path / new.name, content)
        os.utime(self.path / new.name, (FILE_TIME_S, FILE_TIME_S))
        self._changed_ns = self._folder_ns()
        self._taken_ns[new.name] = self._clock.monotonic_ns()
        self.pictures = (*self.pictures, new)
        self.save()
        return True

    def turn(self, state: State) -> None:
        """Collect, stop, or be complete. A complete collection that is to collect begins anew. Raises: OSError."""
        if self.state == "complete" and state == "collecting":
            self._begin_anew()
        self.state = state
        self.save()

    def clear(self) -> None:
        """Delete all pictures, and begin anew; a collection that was stopped stays so. Raises: OSError."""
        for path in picture_files(self.path, unfinished=True):
            path.unlink(missing_ok=True)
        self._delete(self.pictures)
        self._begin_anew()
        self.save()

    def show(self, view: str) -> bool:
        """Have the pictures show this from now on; if that is a change, delete them. Returns whether it is.

        Raises: OSError; the next call then tries again.
        """
        changed = view != self._view
        if changed:
            self.clear()
            self._view = view
            self.save()
        return changed

    def tidy(self, limits: CollectConfig) -> None:
        """Delete pictures that are too old, or too many for new limits.

        Raises: OSError, also if the disk is too full to collect.
        """
        before = self.pictures
        now = self._settled.now()
        if now is not None:
            now_s = now.timestamp()     # a picture from the future is from before the clock was set
            self.pictures = tuple(each if each.at_s <= now_s else replace(each, at_s=now_s) for each in self.pictures)
            self._delete(each for each in self.pictures if self._age_s(each, now_s) > limits.days * _DAY_S)
        self._delete(self._surplus(self.pictures, limits))
        if self.pictures != before or self.watched_s - self._saved_s > _SAVE_EVERY_S:
            self.save()
        if limits.enabled and self.state == "collecting":
            self._check_room()

    def notice(self) -> None:
        """Notice what the owner has deleted. If no picture is left, the collection begins anew. Raises: OSError."""
        changed_ns = self._folder_ns()
        if changed_ns == self._changed_ns:
            return
        self._changed_ns = changed_ns
        found = {path.name for path in picture_files(self.path)}
        left = tuple(picture for picture in self.pictures if picture.name in found)
        if left != self.pictures:
            self.pictures = left
            if not left:
                self._begin_anew()
            self.save()

    def save(self) -> None:
        """Write the record, durably. Raises: OSError."""
        now_s = self._clock.utc_now().timestamp()
        pictures = tuple(replace(each, at_s=now_s - self._age_s(each, now_s)) for each in self.pictures)
        saved = _Saved(self._view, self.state, self.watched_s, pictures)
        replace_file(self._record, json.dumps({"version": _VERSION, **asdict(saved)}).encode())
        self._saved_s = self.watched_s

    def _surplus(self, pictures: tuple[Picture, ...], limits: CollectConfig) -> list[Picture]:
        """Return the pictures that must go to keep within the limits."""
        gone, left = [], list(pictures)
        size_bytes = sum(picture.size_bytes for picture in pictures)
        while left and (len(left) > limits.frames or size_bytes > limits.mb * 1e6):
            gone.append(given_up(left, self._shown))
            left.remove(gone[-1])
            size_bytes -= gone[-1].size_bytes
        return gone

    def _begin_anew(self) -> None:
        self.watched_s, self._shown = 0.0, []
        if self.state == "complete":
            self.state = "collecting"

    def _delete(self, pictures: Iterable[Picture]) -> None:
        gone = {picture.name for picture in pictures}
        if not gone:
            return
        for name in gone:
            (self.path / name).unlink(missing_ok=True)
            self._taken_ns.pop(name, None)
        self.pictures = tuple(picture for picture in self.pictures if picture.name not in gone)
        self._changed_ns = self._folder_ns()

    def _age_s(self, picture: Picture, now_s: float) -> float:
        taken_ns = self._taken_ns.get(picture.name)
        return now_s - picture.at_s if taken_ns is None else (self._clock.monotonic_ns() - taken_ns) / 1e9

    def _check_room(self) -> None:
        space = os.statvfs(self._record.parent)
        if space.f_bavail * space.f_frsize < FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _folder_ns(self) -> int:
        """Return what changes with the names in the folder. Raises: OSError."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _read(self) -> _Saved:
        """Return the record; an empty one if it cannot be used, for then nobody knows what the pictures may show."""
        try:
            return _parsed(read_whole(self._record, _RECORD_BYTES_MAX))
        except (FileNotFoundError, ValueError):
            return _Saved()


def picture_files(folder: Path, *, unfinished: bool = False) -> list[Path]:
    """Return the pictures in the folder of a collection, also unfinished ones if wanted. Raises: OSError.

    There are none if there is no folder.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=_NAME)
    except FileNotFoundError:
        return []
    return [folder / entry.name for entry in found if entry.is_file(follow_symlinks=False) and (
        _OWN.fullmatch(entry.name) or (unfinished and _UNFINISHED.fullmatch(entry.name)))]


def are_collected(paths: Sequence[Path]) -> bool:
    """Whether all of these files are pictures of a collection: the name of each is the digest of its content.

    Then masks and region are in them already. Raises: OSError.
    """
    return all(_OWN.fullmatch(path.name) and path.name == _name_of(path.read_bytes()) for path in paths)


def _name_of(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:32]}.png"


def _parsed(content: bytes) -> _Saved:
    """Return what the record says. Raises: ValueError."""
    try:
        saved = json.loads(content)
        if saved["version"] != _VERSION or saved["state"] not in get_args(State):
            raise ValueError("of another version")
        return _Saved(str(saved["view"]), saved["state"], float(saved["watched_s"]),
                      tuple(map(_picture, saved["pictures"])))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not the record of a collection") from error


def _picture(saved: dict[str, Any]) -> Picture:
    """Return a picture of the record. Raises: KeyError, TypeError, ValueError."""
    return Picture(str(saved["name"]), int(saved["size_bytes"]), float(saved["brightness"]),
                   tuple(map(str, saved["labels"])), bool(saved["doubtful"]), int(saved["part"]),
                   int(saved["width"]), int(saved["height"]), float(saved["at_s"]))
