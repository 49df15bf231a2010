"""All stored values of drift, and their file of fixed size.

Invariants:
- Time is the monotonic clock, carried over boots: after a boot it continues from the last written time. So neither a
  step of the wall clock nor the time without power ages a learnt value; seven days are seven days of watching.
- The file is replaced as a whole, with a checksum; a kill costs the values since the last write. A file that is torn,
  foreign or of a later version is not used: everything is learnt again, and the log says so.
"""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from vedette._lib.clock import CarriedClock
from vedette._lib.durable import replace_file
from vedette.drift.feedback import Feedback
from vedette.drift.hours import State
from vedette.drift.picture import Picture
from vedette.drift.scores import ModelScores

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.ports import Clock

log = logging.getLogger(__name__)

FILE = "drift.json"
SIZE = 384 * 1024
_MAGIC = b"vedette drift 1"
MODELS = 2
"""The running model and the one before it: a new one may be rolled back."""


class SavedDrift(State):
    """The content of the file. `at_s` is the time of writing; the ledger's clock is `offset_s` ahead of that boot's."""

    boot: str
    offset_s: float
    at_s: float
    models: Annotated[list[ModelScores], Field(max_length=MODELS)]
    picture: Picture | None
    feedback: Feedback


class Ledger:
    """The stored values, and the clock that counts over boots. One thread. `boot_id` names the present boot."""

    def __init__(self, path: Path, clock: Clock, boot_id: str) -> None:
        self._path = path
        self._clock = CarriedClock(clock.monotonic_ns, boot_id)
        self.models: list[ModelScores] = []
        self.picture: Picture | None = None
        self.feedback = Feedback()
        self.written_s: float | None = None
        saved = self._load()
        if saved is not None:
            self._clock.resume(saved.boot, saved.offset_s, saved.at_s)
            self.written_s = saved.at_s
            self.models, self.picture, self.feedback = saved.models, saved.picture, saved.feedback

    def __repr__(self) -> str:
        return f"<Ledger {self._path} {self.now_s():.0f} s>"

    def now_s(self) -> float:
        """Return the time on the ledger's clock."""
        return self._clock.now_s()

    def model(self, key: str) -> ModelScores:
        """Return the values of a model, also of the previous one if it comes back; else new, empty ones."""
        found = next((each for each in self.models if each.key == key), None) or ModelScores(key=key)
        self.models = [*(each for each in self.models if each is not found), found][-MODELS:]
        return found

    def picture_of(self, key: str) -> Picture:
        """Return the values of this view; empty ones if the camera's configuration has changed since."""
        if self.picture is None or self.picture.key != key:
            self.picture = Picture(key=key)
        return self.picture

    def content(self) -> bytes:
        """Return the file's present content."""
        saved = SavedDrift(boot=self._clock.boot_id, offset_s=self._clock.offset_s, at_s=self.now_s(),
                           models=self.models, picture=self.picture, feedback=self.feedback)
        return _packed(saved.model_dump_json().encode())

    def save(self, content: bytes) -> None:
        """Write the content durably. Any thread. Raises: OSError."""
        replace_file(self._path, content)

    def _load(self) -> SavedDrift | None:
        try:
            with self._path.open("rb") as file:
                return SavedDrift.model_validate_json(_unpacked(file.read(SIZE + 1)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            log.warning("%s cannot be used, so scores and picture are learnt again: %s", self._path, why)
            return None


def _packed(content: bytes) -> bytes:
    head = b"%s %08x %d\n" % (_MAGIC, zlib.crc32(content), len(content))
    if len(head) + len(content) > SIZE:
        raise ValueError(f"the drift values have {len(content)} bytes; expected at most {SIZE} with their head")
    return (head + content).ljust(SIZE)


def _unpacked(packed: bytes) -> bytes:
    """Return the content that `_packed` was given. Raises: ValueError."""
    head, _, rest = packed.partition(b"\n")
    magic, _, numbers = head.rpartition(b" ")[0].rpartition(b" ")
    if len(packed) != SIZE or not head.startswith(_MAGIC[:-1]):
        raise ValueError("it is torn, or not a drift file")
    if magic != _MAGIC:
        raise ValueError(f"its version is {head[:40]!r}, expected {_MAGIC.decode()!r}")
    content = rest[:int(head.rpartition(b" ")[2])]
    if b"%08x" % zlib.crc32(content) != numbers:
        raise ValueError("its checksum is wrong")
    return content
