"""The operator's part of a rollout, without an operator: signs its steps and its stop, publishes, and records it.

Invariants:
- A record changes together with the signatures that it describes. So a kill at any moment leaves a step that is signed
  and recorded, or neither.
- What is signed is published until it is recorded as published; to publish it again does no harm.
- A stop that cannot be signed is recorded as a stop, and nothing makes the rollout go on after that.
- A release that somebody changed by hand is not touched again.
- No step is signed by a clock that was moved meanwhile; a stop is signed whatever the clock says.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.clock import CarriedClock
from vedette.device.board import boot_id
from vedette.errors import FleetBusy, FleetError, StateUnusable
from vedette.fleet.folder import FleetFolder
from vedette.fleet.publish import TIMESTAMP, publish
from vedette.fleet.repository import CLOCK_SLACK, Repository
from vedette.fleet.rollout import OVER, RolloutState, Step
from vedette.fleet.rolls import Order, RollRecord, Stamp, newest_of, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.fleet.keys import KeyFolder
    from vedette.fleet.settings import Bundle
    from vedette.store.release import Release, Target

REPOSITORY = "repository"


def step_clock() -> CarriedClock:
    """Return the clock of soaks: it goes on while the machine sleeps, and no step of the wall clock moves it."""
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now_ns() -> int:
        return time.clock_gettime_ns(kind)
    return CarriedClock(now_ns, boot_id())


class RollDesk:
    """The desk of one rollout. `utc_now`: for signatures."""

    def __init__(self, fleet: Path, keys: KeyFolder, record: RollRecord, utc_now: Callable[[], datetime]) -> None:
        self.fleet = fleet
        self.record = record
        self.clock = step_clock()
        self._keys = keys
        self.utc_now = utc_now
        self._seen: tuple[object, ...] = ()
        self.targets: tuple[Target, ...] = ()
        """What is released, as of the last `refresh`."""
        if record.stamp is not None:
            self.clock.resume(record.stamp.boot, record.stamp.offset_s, record.stamp.at_s)

    @classmethod
    def begin(cls, fleet: Path, keys: KeyFolder, bundle: Bundle, release: Release, order: Order, first: Step, *,
              devices: Iterable[str], left_out: Mapping[str, str], utc_now: Callable[[], datetime]) -> RollDesk:
        """Sign the first step of a new rollout. `devices`: those that are known; `left_out`: those not expected.

        Raises: FleetBusy if another process has just begun it, FleetError, KeyUnusable, UsageError, StateUnusable.
        """
        state = RolloutState(release=release.release, step=1, end=first.end, reached=first.reached)
        record = RollRecord(order=order, release=release, state=state, devices=tuple(devices),
                            left_out=dict(left_out))
        desk = cls(fleet, keys, record, utc_now)
        with desk._opened() as (_, repository):
            newest = newest_of(fleet, order)
            if newest is not None and not newest.is_over:
                raise FleetBusy(f"another process has just begun the rollout of this file, release {newest.number}")
            fields = {**release.model_dump(exclude={"release"}), "buckets": (0, first.end - 1)}
            repository.release(keys, bundle, release.release, fields, beside=record.serialize())
        return desk

    @property
    def stop_words(self) -> str:
        """What was signed to stop it, in words."""
        state, plan = self.record.state, self.record.order.plan
        if plan.on_stop == "narrow" and state.passed:
            return f"the release is narrowed to buckets 0-{state.passed - 1}, which have passed"
        return "the release is withdrawn"

    @property
    def published_s(self) -> float:
        """When the present step was published, on the clock of soaks; now, if it was not yet."""
        stamp = self.record.stamp
        return stamp.at_s if stamp is not None and self.record.state.published_at is not None else self.clock.now_s()

    def refresh(self) -> str | None:
        """Take a yes that was given meanwhile; returns what somebody changed by hand, in words.

        Raises: FleetBusy, FleetError, StateUnusable.
        """
        seen = (_identity(self.fleet / REPOSITORY / TIMESTAMP), _identity(self._file))
        if seen == self._seen:
            return None
        with self._opened() as (_, repository):
            self.record = read(self.fleet, self.record.number) or self.record
            self.targets = repository.targets
            words = self._changed_by_hand(repository)
        self._seen = seen
        return words

    def widen(self, step: Step, left_out: Mapping[str, str], *, accepted: bool) -> None:
        """Sign the next step.

        Raises: FleetError, also if somebody changed it by hand or moved the clock; KeyUnusable, StateUnusable.
        """
        with self._opened() as (folder, repository):
            if words := self._changed_by_hand(repository):
                raise FleetError(words)
            if abs(moved_s := self._clock_moved_s()) > CLOCK_SLACK.total_seconds():
                self._mark_published(folder)
                raise FleetError(f"the clock of this machine was moved by {moved_s:.0f} s, and signatures need the "
                                 "true time: the soak begins again")
            state = self.record.state
            record = self.record.stated(
                step=state.step + 1, end=step.end, passed=state.end, reached=step.reached, published_at=None,
                accepted=accepted, approved=False, phase="rolling", words="")
            record = record.model_copy(update={"left_out": {**self.record.left_out, **left_out}})
            repository.release(self._keys, None, record.number, {"buckets": (0, step.end - 1)},
                               beside=record.serialize())
            self.record = record

    def stop(self, words: str) -> None:
        """Sign the stop. A stop that cannot be signed is only recorded, and raises.

        Raises: FleetError, KeyUnusable, StateUnusable.
        """
        with self._opened(at_any_time=True) as (folder, repository):
            stopped = self.record.stated(phase="stopped", published_at=None, words=words)
            passed = self.record.state.passed
            try:
                if _own(repository, self.record) is None:
                    self._change(folder, stopped)
                elif self.record.order.plan.on_stop == "narrow" and passed:
                    repository.release(self._keys, None, stopped.number, {"buckets": (0, passed - 1)},
                                       beside=stopped.serialize())
                else:
                    repository.withdraw(self._keys, stopped.number, beside=stopped.serialize())
            except (FleetError, StateUnusable):
                self._change(folder, self.record.stated(phase="stopping", words=words))
                raise
            self.record = stopped

    def settle(self, **state: object) -> None:
        """Record a state that changes no signature. Raises: FleetError, StateUnusable."""
        with self._opened() as (folder, _):
            self._change(folder, self.record.stated(**state))

    def publish(self) -> None:
        """Publish what is signed, and record that. Raises: FleetError, ModelDamaged, StateUnusable."""
        destination = Path(self.record.order.destination)
        if self.record.was_published and not (destination / TIMESTAMP).exists():
            raise StateUnusable(f"{destination}: what was published there is gone; is it mounted?")
        with self._opened() as (folder, repository):
            publish(self.fleet / REPOSITORY, repository.files(), destination)
            if self.record.state.published_at is not None:
                return
            self._mark_published(folder)

    @property
    def _file(self) -> Path:
        return self.fleet / self.record.path

    @contextmanager
    def _opened(self, *, at_any_time: bool = False) -> Iterator[tuple[FleetFolder, Repository]]:
        """Hold the folder. `at_any_time`: sign with the time of the last signature if the clock is before it."""
        with FleetFolder(self.fleet) as folder:
            repository = Repository(folder, self.utc_now())
            if at_any_time and repository.settings.changed_at > self.utc_now():
                repository = Repository(folder, repository.settings.changed_at)
            yield folder, repository

    def _mark_published(self, folder: FleetFolder) -> None:
        stamp = Stamp(boot=self.clock.boot_id, offset_s=self.clock.offset_s, at_s=self.clock.now_s())
        record = self.record.stated(published_at=self.utc_now())
        self._change(folder, record.model_copy(update={"stamp": stamp, "was_published": True}))

    def _clock_moved_s(self) -> float:
        """Return by how much somebody moved the wall clock since the step was published. 0: not known."""
        stamp, published_at = self.record.stamp, self.record.state.published_at
        if stamp is None or published_at is None or stamp.boot != self.clock.boot_id:
            return 0
        return (self.utc_now() - published_at).total_seconds() - (self.clock.now_s() - stamp.at_s)

    def _change(self, folder: FleetFolder, record: RollRecord) -> None:
        folder.change(record.serialize())
        self.record = record

    def _changed_by_hand(self, repository: Repository) -> str | None:
        state = self.record.state
        if state.phase in OVER or state.phase == "stopping":
            return None
        own = _own(repository, self.record)
        if own is None:
            return "it was withdrawn by hand"
        if own.release.buckets != (0, state.end - 1):
            return f"its buckets were changed by hand to {own.release.buckets[0]}-{own.release.buckets[1]}"
        is_same = own.release == self.record.release.model_copy(update={"buckets": own.release.buckets})
        return None if is_same else "it was changed by hand"


def approve(fleet: Path, number: int) -> str:
    """Give the yes for the next step of a rollout; returns what it waits for, in words.

    Raises: FleetError if the rollout does not wait for a yes, FleetBusy, StateUnusable.
    """
    with FleetFolder(fleet) as folder:
        record = read(fleet, number)
        if record is None:
            raise FleetError(f"release {number}: there is no rollout of it")
        if record.state.phase != "asking":
            raise FleetError(f"release {number}: its rollout does not wait for a yes, it is {record.state.phase}")
        folder.change(record.stated(approved=True).serialize())
    return record.state.words


def _own(repository: Repository, record: RollRecord) -> Target | None:
    return next((target for target in repository.targets if target.release.release == record.number), None)


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
