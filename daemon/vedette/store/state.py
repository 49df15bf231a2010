"""The model store's state and its transitions: which model is active, which was active before, which is on trial.

Invariants: frozen and free of I/O; parse(serialize(x)) == x; every transition returns a new state; `previous` is always
good (no trial was open when it was replaced), so that a rollback always leads to a proven model; a refused digest stays
refused until an operator activates it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError

from vedette.store.frozen import Count, FrozenModel, PrintableText
from vedette.store.probes import Probe, without
from vedette.store.release import Sha256, ShadowRequirement, TrialRequirement
from vedette.types import UpdateCode

CRASHES_MAX = 3
OTHER_ENDS_MAX = 30
REFUSED_KEPT = 64
ACTED_KEPT = 16
NO_FAILURES: frozenset[UpdateCode] = frozenset({"good", "activated", "rolled_back", "withdrawn"})
LISTED = {"active", "previous", "candidate", "trial", "refused", "held", "latest", "last_outcome"}
"""What people see of the state."""


class Installed(FrozenModel):
    """A model in the store. `release` is None for a loose bundle."""

    sha256: Sha256
    size: Count
    name: PrintableText
    version: PrintableText | None = None
    release: Count | None = None
    variant: PrintableText | None = None
    shadow: ShadowRequirement | None = None
    trial: TrialRequirement | None = None


class Trial(FrozenModel):
    """The active model's trial: how often it was started, how those starts ended, and the evidence so far.

    `other_ends` counts clean stops and power cycles. `open_boot` is the boot id of the start that has not ended yet,
    None after a clean stop.
    """

    since_utc: AwareDatetime
    starts: Count = 0
    crashes: Count = 0
    other_ends: Count = 0
    open_boot: PrintableText | None = None
    frames: Count = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Refused(FrozenModel):
    """A digest that is not put on trial again. Not `lasting`: a higher release of the same file is tried again."""

    sha256: Sha256
    release: Count | None
    why: PrintableText
    at: AwareDatetime
    lasting: bool = True
    code: UpdateCode = "unknown"


class Outcome(FrozenModel):
    """How the last update ended. An older Vedette saved no code."""

    sha256: Sha256
    name: PrintableText
    version: PrintableText | None
    words: PrintableText
    at: AwareDatetime
    ok: bool
    release: Count | None = None
    code: UpdateCode = "unknown"


class Offer(FrozenModel):
    """The newest release that trusted metadata names for this device. An older Vedette saved no digest."""

    name: PrintableText
    version: PrintableText
    release: Count
    sha256: Sha256 | None = None


class RoleFloor(FrozenModel):
    """The lowest version of one metadata role that is still trusted, as long as these keys sign it."""

    version: Count
    keyids: tuple[PrintableText, ...] = ()


def crash_looped(trial: Trial) -> bool:
    """Return whether the model on trial has ended too often to be started again."""
    return trial.crashes >= CRASHES_MAX or trial.other_ends >= OTHER_ENDS_MAX


class StoreState(FrozenModel):
    """The one truth about the store. `trial` belongs to `active`; without a trial, `active` is good.

    `held`: an operator rolled back or chose a model, so only a release above this number is activated automatically.
    `acted`: ids of the latest requests that are done; an id is added in the same change that does its request.
    `probes`: the files that are probed now, and those during whose probe the daemon died.
    """

    format: Literal[1] = 1
    active: Installed | None = None
    previous: Installed | None = None
    candidate: Installed | None = None
    trial: Trial | None = None
    refused: tuple[Refused, ...] = ()
    held: Count | None = None
    floors: Mapping[str, RoleFloor] = {}
    trusted_time: AwareDatetime | None = None
    last_outcome: Outcome | None = None
    latest: Offer | None = None
    acted: tuple[PrintableText, ...] = ()
    probes: tuple[Probe, ...] = ()

    def serialize(self) -> bytes:
        """Return the content of state.json."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parse the content of state.json. Raises: ValueError."""
        return cls.model_validate_json(content)

    @property
    def named(self) -> tuple[Installed, ...]:
        """The models that the state names: active, previous, candidate."""
        return tuple(model for model in (self.active, self.previous, self.candidate) if model is not None)

    def refusal_of(self, sha256: str) -> Refused | None:
        """Return the refusal of a digest, or None if it is not refused."""
        return next((refused for refused in self.refused if refused.sha256 == sha256), None)

    def refuses(self, sha256: str, release: int) -> bool:
        """Return whether a digest is refused as this release."""
        refused = self.refusal_of(sha256)
        return refused is not None and (refused.lasting or release <= (refused.release or 0))

    def staged(self, model: Installed) -> Self:
        """Make a model that is complete in the store the candidate."""
        return self._replace(candidate=model)

    def dropped_candidate(self, why: str, now: datetime, *, code: UpdateCode = "unknown", refuse: bool = True,
                          lasting: bool = True) -> Self:
        """Drop the candidate; `refuse`: it is not put on trial again. Without a candidate nothing changes.

        Not `lasting`: a higher release of the same file is tried again.
        """
        model = self.candidate
        if model is None:
            return self
        refused = self._with_refused(model, why, now, code, lasting=lasting) if refuse else self.refused
        return self._with_outcome(model, why, now, code)._replace(
            candidate=None, refused=refused, probes=without(self.probes, model.sha256) if refuse else self.probes)

    def activated(self, model: Installed, now: datetime, *, on_trial: bool = True, held: int | None = None) -> Self:
        """Make the model active, even if its digest was refused before.

        A good model that was active becomes `previous`. A model that was still on trial is not proven and is dropped.
        If the digest is active already, its trial goes on, or it stays good. An earlier failure of it is over.
        `held`: only a release above this number is activated automatically afterwards.
        """
        same = self.active is not None and self.active.sha256 == model.sha256
        proven = self.active if self.trial is None and not same else self.previous
        new_trial = Trial(since_utc=now) if on_trial else None
        trial = self.trial if same else new_trial
        failed = self.last_outcome is not None and self.last_outcome.sha256 == model.sha256 and not self.last_outcome.ok
        told = self._replace(last_outcome=None) if failed else self
        if trial is None and not same:
            told = self._with_outcome(model, "active; it was proven before", now, "activated")
        return told._replace(
            active=model, previous=None if proven is not None and proven.sha256 == model.sha256 else proven,
            trial=trial,
            candidate=None if self.candidate is not None and self.candidate.sha256 == model.sha256 else self.candidate,
            refused=self.refusal_cleared(model.sha256).refused, probes=without(self.probes, model.sha256),
            held=held if held is not None else self._held_after(model))

    def started(self, boot_id: str) -> Self:
        """Count a start with the active model. A start that is still open crashed; in another boot, power was cut."""
        trial = self.trial
        if trial is None:
            return self
        crashed = trial.open_boot == boot_id
        cut = trial.open_boot is not None and not crashed
        return self._with_trial(starts=trial.starts + 1, crashes=trial.crashes + crashed,
                                other_ends=trial.other_ends + cut, open_boot=boot_id)

    def ended_cleanly(self) -> Self:
        """Count an orderly stop of the daemon. Safe to call twice."""
        trial = self.trial
        if trial is None or trial.open_boot is None:
            return self
        return self._with_trial(other_ends=trial.other_ends + 1, open_boot=None)

    def with_evidence(self, frames: int, seconds: float) -> Self:
        """Set the trial's evidence so far: totals over all starts."""
        return self if self.trial is None else self._with_trial(frames=frames, seconds=seconds)

    def marked_good(self, now: datetime, message: str = "good") -> Self:
        """End the trial: the active model is proven. Without a trial nothing changes."""
        if self.active is None or self.trial is None:
            return self
        return self._with_outcome(self.active, message, now, "good")._replace(trial=None)

    def postponed_candidate(self, why: str, now: datetime) -> Self:
        """Keep the candidate, which could not be tested yet, and say why. Without a candidate nothing changes."""
        return self if self.candidate is None else self._with_outcome(self.candidate, why, now, "not_tried")

    def rolled_back(self, why: str, now: datetime, *, code: UpdateCode = "unknown", refuse: bool = True,
                    lasting: bool = True) -> Self:
        """Replace the active model by the previous one, which is good, or by none.

        Not `lasting`: a higher release of the same file is tried again.
        """
        model = self.active
        if model is None:
            return self
        return self._with_outcome(model, why, now, code)._replace(
            active=self.previous, previous=None, trial=None,
            refused=self._with_refused(model, why, now, code, lasting=lasting) if refuse else self.refused)

    def rolled_back_by_operator(self, now: datetime, message: str = "rolled back by the operator") -> Self:
        """Make the previous model active again. It is held until a release above the replaced one is available.

        A good model that is replaced becomes `previous`, so a second rollback undoes the first. Raises: ValueError
        without an active and a previous model.
        """
        if self.active is None or self.previous is None:
            raise ValueError("there is no previous model to roll back to")
        known = (self.active.release, self.latest.release if self.latest else None, self.previous.release, 0)
        return self._with_outcome(self.active, message, now, "rolled_back")._replace(
            active=self.previous, previous=self.active if self.trial is None else None, trial=None,
            held=next(release for release in known if release is not None))

    def trusted(self, floors: Mapping[str, RoleFloor], reference: datetime | None) -> Self:
        """Set the floors and the time that verified metadata gives; the trusted time never goes back."""
        times = [time for time in (reference, self.trusted_time) if time is not None]
        return self._replace(floors=dict(floors), trusted_time=max(times, default=None))

    def offered(self, latest: Offer | None) -> Self:
        """Set the newest release that is for this device."""
        return self._replace(latest=latest)

    def refusal_cleared(self, sha256: str) -> Self:
        """Remove the refusal of a digest and forget its probes: it may go on trial again."""
        return self._replace(refused=tuple(one for one in self.refused if one.sha256 != sha256),
                             probes=without(self.probes, sha256))

    def with_probes(self, probes: tuple[Probe, ...]) -> Self:
        """Set the files that are probed now, and those during whose probe the daemon died."""
        return self._replace(probes=probes)

    def with_done_request(self, request_id: str) -> Self:
        """Add the request's id to `acted`; this belongs into the same change that does the request."""
        return self._replace(acted=(*self.acted, request_id)[-ACTED_KEPT:])

    def with_request_outcome(self, kind: str, sha256: str, message: str, now: datetime, *, ok: bool) -> Self:
        """Record how a request ended that nobody waits for any more."""
        done: UpdateCode = "rolled_back" if kind == "rollback" else "activated"
        return self._replace(last_outcome=Outcome(sha256=sha256, name=kind, version=None, words=message, at=now, ok=ok,
                                                  code=done if ok else "refused"))

    def _held_after(self, model: Installed) -> int | None:
        beyond = self.held is not None and model.release is not None and model.release > self.held
        return None if beyond else self.held

    def _with_refused(self, model: Installed, why: str, now: datetime, code: UpdateCode, *,
                      lasting: bool = True) -> tuple[Refused, ...]:
        others = tuple(one for one in self.refused if one.sha256 != model.sha256)
        refused = Refused(sha256=model.sha256, release=model.release, why=why, at=now, lasting=lasting, code=code)
        return (*others, refused)[-REFUSED_KEPT:]

    def _with_trial(self, **changes: object) -> Self:
        assert self.trial is not None  # noqa: S101 - for the type checker: the callers have checked
        return self._replace(trial=self.trial.model_copy(update=changes))

    def _with_outcome(self, model: Installed, message: str, now: datetime, code: UpdateCode) -> Self:
        return self._replace(last_outcome=Outcome(
            sha256=model.sha256, name=model.name, version=model.version, words=message, at=now, ok=code in NO_FAILURES,
            release=model.release, code=code))

    def _replace(self, **changes: object) -> Self:
        return self.model_copy(update=changes)


def parse_damaged(content: bytes) -> StoreState | None:
    """Return the parts of a damaged or foreign state.json that can be parsed; None if `active` is not one of them.

    A trial that cannot be parsed starts again: its model does not count as proven.
    """
    try:
        values = json.loads(content.decode())
        state = StoreState.model_validate(values)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        if not isinstance(values, dict) or "active" in wrong:
            return None
        state = StoreState.model_validate({key: value for key, value in values.items() if key not in wrong})
        if "trial" in wrong:
            state = state.model_copy(update={"trial": Trial(since_utc=datetime.fromtimestamp(0, UTC))})
    except (ValueError, RecursionError):
        return None
    return state if state.named else None
