"""The files of the rollouts, in `rolls/` of the fleet's folder: a record of each, its log, and the lock of its process.

Invariants: a record changes together with the signatures that it describes, or in a change of its own; one process
leads a rollout, and the kernel frees its lock when it dies; a log line is one line, whatever a device has published.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from vedette.errors import FleetBusy, FleetError, StateUnusable
from vedette.fleet.rollout import OVER, Plan, RolloutState
from vedette.store.frozen import FrozenModel
from vedette.store.release import Release, Sha256, Target

FOLDER = "rolls"


class Order(FrozenModel):
    """What the operator has ordered. `terms`: the fields of the release that the command line names."""

    sha256: Sha256
    terms: dict[str, Any]
    plan: Plan
    destination: str

    def is_like(self, other: Order) -> bool:
        """Return whether both are to release the same file to the same devices."""
        audience = ("channel", "device_classes", "tags", "variant")
        return self.sha256 == other.sha256 and all(self.terms.get(key) == other.terms.get(key) for key in audience)


class Stamp(FrozenModel):
    """A time on the clock that is carried over restarts, but not over boots: `boot` names one."""

    boot: str
    offset_s: float
    at_s: float


class RollRecord(FrozenModel):
    """A rollout. `devices`: those known when it began, that it is for. `left_out`: those not expected, and why.

    `release`: as of the first step. `stamp`: when the present step was published. `was_published`: any step was.
    """

    format: Literal[1] = 1
    order: Order
    release: Release
    state: RolloutState
    devices: tuple[str, ...]
    left_out: dict[str, str]
    stamp: Stamp | None = None
    was_published: bool = False

    @property
    def number(self) -> int:
        """The number of the release."""
        return self.state.release

    @property
    def target(self) -> Target:
        """The release without its file: what devices say about it can be judged, although it may be withdrawn."""
        return Target("", 0, self.order.sha256, self.release)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, not even to publish a stop."""
        return self.state.phase in OVER and (self.state.phase != "stopped" or self.state.published_at is not None)

    @property
    def path(self) -> str:
        """The path of its file, below the fleet's folder."""
        return f"{FOLDER}/{self.number}.json"

    def serialize(self) -> dict[str, bytes]:
        """Return the content of its file, by its path."""
        return {self.path: self.model_dump_json(indent=1).encode() + b"\n"}

    def stated(self, **changes: object) -> Self:
        """Return it with another state."""
        return self.model_copy(update={"state": self.state.model_copy(update=changes)})


def read(fleet: Path, number: int) -> RollRecord | None:
    """Return the record of a release; None: there was no rollout. Raises: FleetError, StateUnusable."""
    path = fleet / FOLDER / f"{number}.json"
    try:
        return RollRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnusable(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise FleetError(f"{path}: {error.errors()[0]['msg']}; restore it from your backup") from error


def newest_of(fleet: Path, order: Order) -> RollRecord | None:
    """Return the newest rollout of the same file to the same devices. Raises: FleetError, StateUnusable."""
    numbers = sorted((int(path.stem) for path in (fleet / FOLDER).glob("*.json") if path.stem.isdigit()), reverse=True)
    records = (read(fleet, number) for number in numbers)
    return next((record for record in records if record is not None and record.order.is_like(order)), None)


@contextmanager
def led(fleet: Path, number: int) -> Iterator[None]:
    """Be the one process that leads a rollout. Raises: FleetBusy, StateUnusable."""
    path = fleet / FOLDER / f"{number}.lock"
    lock = -1
    try:
        path.parent.mkdir(exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise FleetBusy(f"another process leads the rollout of release {number}") from error
    except OSError as error:
        raise StateUnusable(f"{path}: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(lock)


def log_line(number: int, now: datetime, words: str) -> str:
    """Return a line of a log, whatever a device has published."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    return f"{now:%Y-%m-%d %H:%M:%S}Z  release {number}: {printable}"


def write_log(fleet: Path, number: int, line: str) -> None:
    """Append a line to the log of a rollout. Raises: StateUnusable."""
    path = fleet / FOLDER / f"{number}.log"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise StateUnusable(f"{path}: {error.strerror}") from error
