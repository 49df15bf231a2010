"""Publishes the best pictures of events, retained, one for each label, and takes back those that are not wanted.

Invariants:
- No picture is published of a label that is not wanted, and none while pictures or events are off.
- A label is durably noted before its first picture is published, and until the broker has the empty message that
  takes the picture back. So no picture stays behind, whatever ends a run.
- A picture that was made with other masks is taken back at the next start: what is hidden now may be in it.
- In 24 hours at most PICTURE_BYTES are published.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import cached_property
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.messages.topics import BEST, topic_level
from vedette.types import Message

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.events.best_picture import BestPicture
    from vedette.ports import Clock, Publisher

log = logging.getLogger(__name__)

PICTURE_BYTES = 50_000_000
LABELS_MAX = 100
"""Each label's picture also stays in memory, to be sent again after a new connection."""
FILE = "pictures.json"
_FILE_BYTES = 1_000_000
_DAY_NS = 86_400 * 10 ** 9


class PictureBudget:
    """The bytes that may be published in 24 hours. They are counted from the first picture on, and in memory only."""

    def __init__(self, clock: Clock, limit_bytes: int = PICTURE_BYTES) -> None:
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._since_ns = 0
        self.spent_bytes = 0
        self._used_up = False

    def __repr__(self) -> str:
        return f"<PictureBudget {self.spent_bytes}/{self._limit_bytes} bytes>"

    def take(self, size_bytes: int) -> bool:
        """Count a picture if it may be published. Once one may not, no other may until the day is over."""
        if self.is_used_up():
            return False
        if self.spent_bytes + size_bytes > self._limit_bytes:
            self._used_up = True
            log.warning("the pictures of 24 hours have %d bytes: no more are published until that time is over",
                        self.spent_bytes)
            return False
        self.spent_bytes += size_bytes
        return True

    def is_used_up(self) -> bool:
        """Return whether no picture may be published now."""
        now_ns = self._clock.monotonic_ns()
        if not self.spent_bytes and not self._used_up:
            self._since_ns = now_ns
        elif now_ns - self._since_ns >= _DAY_NS:
            self._since_ns, self.spent_bytes, self._used_up = now_ns, 0, False
        return self._used_up


class BestPictures:
    """The retained pictures of this device. `reload` and `wants`: any thread; the rest: outbox thread only."""

    def __init__(self, publisher: Publisher, config: Config, state_folder: Path, clock: Clock) -> None:
        self._publisher = publisher
        self._config = config
        self._path = state_folder / FILE
        self._masks = _digest(config)
        self._budget = PictureBudget(clock)
        self._leaving: set[str] = set()
        """Labels whose picture was taken back, and the broker has not acknowledged it yet."""
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<BestPictures {self._budget!r} leaving={sorted(self._leaving)}>"

    @cached_property
    def _noted(self) -> dict[str, str]:
        """Each label that may have a retained picture, and the digest of its masks, as the file says."""
        try:
            with self._path.open("rb") as file:
                return _parsed(file.read(_FILE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used, so retained pictures of earlier runs may stay: %s", self._path, error)
            return {}

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration; the next `tidy` takes back what is not wanted any more."""
        self._config = config

    def wants(self, label: str) -> bool:
        """Whether the best picture of an event with this label is to be published."""
        events = self._config.events
        wanted = events.pictures if isinstance(events.pictures, bool) else label in events.pictures
        return events.enabled and wanted and self._config.makes_events(label)

    def publish(self, label: str, picture: BestPicture) -> int | None:
        """Publish the picture, retained; returns the bytes of the JPEG.

        None: it is not published. The label is not wanted, the budget is used up, there is no picture, or the disk
        fails, so that it could not be taken back later.
        """
        if not (picture and self.wants(label)) or self._budget.is_used_up() or not self._note(label):
            return None
        content = picture.jpeg()
        if not self._budget.take(len(content)):
            return None
        self._leaving.discard(label)
        self._publisher.publish(_message(label, content))
        return len(content)

    def tidy(self) -> None:
        """Take back what is not wanted. Call it several times a minute, the first time at the start of the run."""
        surplus = {label for label, masks in self._noted.items() if masks != self._masks or not self.wants(label)}
        status = self._publisher.status() if surplus else None
        idle = status is not None and status.connected and not status.outbox_depth
        if self._leaving and idle and self._save({label: masks for label, masks in self._noted.items()
                                                  if label not in self._leaving}):      # the broker has everything
            surplus -= self._leaving
            self._leaving.clear()
        for label in surplus - self._leaving:
            self._publisher.publish(_message(label, b""))
            self._leaving.add(label)

    def _note(self, label: str) -> bool:
        """Note durably that the label has a picture; returns whether it is noted."""
        if self._noted.get(label) == self._masks:
            return True
        if label not in self._noted and len(self._noted) >= LABELS_MAX:
            self._report(f"{LABELS_MAX} labels have a picture already: none of another label is published")
            return False
        return self._save(self._noted | {label: self._masks})

    def _save(self, noted: dict[str, str]) -> bool:
        try:
            replace_file(self._path, json.dumps(noted).encode())
        except OSError as error:
            self._report(f"{self._path}: {error.strerror}: no pictures of other labels are published")
            return False
        self._noted = noted
        return True

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble


def _parsed(content: bytes) -> dict[str, str]:
    """Return the content of the file. Raises: ValueError."""
    noted = json.loads(content)
    if not isinstance(noted, dict) or not all(isinstance(masks, str) for masks in noted.values()):
        raise ValueError("expected labels with a digest each")
    return noted


def _digest(config: Config) -> str:
    """Return what changes with the masks, and with where they lie in the picture."""
    return hashlib.sha256(repr((config.camera.rotate, config.camera.masks)).encode()).hexdigest()[:16]


def _message(label: str, content: bytes) -> Message:
    return Message(f"{BEST}/{topic_level(label)}", content, retain=True)
