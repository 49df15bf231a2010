"""What the model store knows, and how that may change: which model runs, which came before, what is on trial.

Invariants: frozen and free of I/O; parse(serialize(x)) == x; every transition returns a new state; `previous` is always
good (no trial was open when it was replaced), so that whoever goes back goes back to a proven model; a refused digest
stays refused until it is activated all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vedette.store.release import Sha256, ShadowRequirement, TrialRequirement

CRASHES_MAX = 3
OTHER_ENDS_MAX = 30
REFUSED_KEPT = 64
ACTED_KEPT = 16
_WORDS_MAX = 300


def _plain(value: object) -> object:
    """Names come out of files and words out of anywhere: nothing unprintable, and not for ever."""
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isprintable() else "?" for letter in value[:_WORDS_MAX])


Words = Annotated[str, BeforeValidator(_plain)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Evidence = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Installed(_Frozen):
    """A model in the store. `release` is None for a loose bundle."""

    sha256: Sha256
    size: Count
    name: Words
    version: Words | None = None
    release: Count | None = None
    variant: Words | None = None
    shadow: ShadowRequirement | None = None
    trial: TrialRequirement | None = None


class Trial(_Frozen):
    """The active model's probation: how often it was started and how that ended, and the evidence so far.

    `other_ends` are clean stops and power cycles; `open_boot` is the boot id of the start under way, None after a
    clean stop. `previous_ms`: what the model before it took for a frame, median.
    """

    since_utc: AwareDatetime
    starts: Count = 0
    crashes: Count = 0
    other_ends: Count = 0
    open_boot: Words | None = None
    frames: Count = 0
    seconds: Evidence = 0.0
    previous_ms: Evidence | None = None


class Refused(_Frozen):
    """A digest that is not tried again."""

    sha256: Sha256
    release: Count | None
    why: Words
    at: AwareDatetime


class Outcome(_Frozen):
    """How the last update ended."""

    sha256: Sha256
    name: Words
    version: Words | None
    words: Words
    at: AwareDatetime
    ok: bool


class Offer(_Frozen):
    """The newest release for this device that trusted metadata names."""

    name: Words
    version: Words
    release: Count


class RoleFloor(_Frozen):
    """The lowest version of one metadata role that is still believed, while these keys sign it."""

    version: Count
    keyids: tuple[Words, ...] = ()


def crash_looped(trial: Trial) -> bool:
    """Tell whether the model on trial has ended too often to be started again."""
    return trial.crashes >= CRASHES_MAX or trial.other_ends >= OTHER_ENDS_MAX


class StoreState(_Frozen):
    """The one truth about the store. `trial` is that of `active`; without one, `active` is good.

    `held`: after an operator's rollback or choice nothing comes until a release above it. `acted`: ids of the latest
    requests done, noted in the very change that did them.
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
    acted: tuple[Words, ...] = ()

    def serialize(self) -> bytes:
        """Return the content of state.json."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Understand the content of state.json. Raises: ValueError."""
        return cls.model_validate_json(content)

    @property
    def named(self) -> tuple[Installed, ...]:
        """The models that are pointed to: active, previous, candidate."""
        return tuple(model for model in (self.active, self.previous, self.candidate) if model is not None)

    def refusal_of(self, sha256: str) -> Refused | None:
        """Return why a digest is refused, or None when it is not."""
        return next((refused for refused in self.refused if refused.sha256 == sha256), None)

    def staged(self, model: Installed) -> Self:
        """A model that lies complete in the store is now the candidate."""
        return self._but(candidate=model)

    def dropped_candidate(self, why: str, now: datetime, *, refuse: bool = True) -> Self:
        """The candidate will not become active; refused, it is not tried again. Without a candidate nothing changes."""
        model = self.candidate
        if model is None:
            return self
        return self._ended(model, why, now, ok=False)._but(
            candidate=None, refused=self._with_refused(model, why, now) if refuse else self.refused)

    def activated(self, model: Installed, now: datetime, *, on_trial: bool = True, held: int | None = None,
                  previous_ms: float | None = None) -> Self:
        """The model becomes active, whatever was said of its digest before.

        A good one before it becomes `previous`; one still on trial is not proven and is dropped. The digest that is
        active already keeps its trial, or its being good. `held`: nothing comes on its own until a higher release.
        """
        same = self.active is not None and self.active.sha256 == model.sha256
        proven = self.active if self.trial is None and not same else self.previous
        return self._but(
            active=model, previous=None if proven is not None and proven.sha256 == model.sha256 else proven,
            trial=self.trial if same else Trial(since_utc=now, previous_ms=previous_ms) if on_trial else None,
            candidate=None if self.candidate is not None and self.candidate.sha256 == model.sha256 else self.candidate,
            refused=self.pardoned(model.sha256).refused,
            held=held if held is not None else self._still_held(model))

    def begun(self, boot_id: str) -> Self:
        """The daemon starts with the active model. A start still open was a crash; in another boot, a power cut."""
        trial = self.trial
        if trial is None:
            return self
        crashed = trial.open_boot == boot_id
        cut = trial.open_boot is not None and not crashed
        return self._with_trial(starts=trial.starts + 1, crashes=trial.crashes + crashed,
                                other_ends=trial.other_ends + cut, open_boot=boot_id)

    def ended_cleanly(self) -> Self:
        """The daemon stops in order. Safe to call twice."""
        trial = self.trial
        if trial is None or trial.open_boot is None:
            return self
        return self._with_trial(other_ends=trial.other_ends + 1, open_boot=None)

    def proceeded(self, frames: int, seconds: float) -> Self:
        """The trial's evidence so far: totals, over all starts."""
        return self if self.trial is None else self._with_trial(frames=frames, seconds=seconds)

    def marked_good(self, now: datetime, words: str = "good") -> Self:
        """The active model is proven. Without a trial nothing changes."""
        if self.active is None or self.trial is None:
            return self
        return self._ended(self.active, words, now, ok=True)._but(trial=None)

    def rolled_back(self, why: str, now: datetime, *, refuse: bool = True) -> Self:
        """The active model is given up for the previous one, which is good, or for none."""
        model = self.active
        if model is None:
            return self
        return self._ended(model, why, now, ok=False)._but(
            active=self.previous, previous=None, trial=None,
            refused=self._with_refused(model, why, now) if refuse else self.refused)

    def held_back(self, now: datetime, words: str = "rolled back by the operator") -> Self:
        """An operator's rollback: the previous model runs again, until a release above the one left.

        A good model that is left becomes `previous`, so that a second rollback undoes the first. Raises: ValueError
        without an active and a previous model.
        """
        if self.active is None or self.previous is None:
            raise ValueError("there is no previous model to go back to")
        known = (self.active.release, self.latest.release if self.latest else None, self.previous.release, 0)
        return self._ended(self.active, words, now, ok=True)._but(
            active=self.previous, previous=self.active if self.trial is None else None, trial=None,
            held=next(release for release in known if release is not None))

    def trusted(self, floors: Mapping[str, RoleFloor], reference: datetime | None) -> Self:
        """What verified metadata says of itself; the trusted time never goes back."""
        times = [time for time in (reference, self.trusted_time) if time is not None]
        return self._but(floors=dict(floors), trusted_time=max(times, default=None))

    def offered(self, latest: Offer | None) -> Self:
        """The newest release that is for this device."""
        return self._but(latest=latest)

    def pardoned(self, sha256: str) -> Self:
        """The digest may be tried again."""
        return self._but(refused=tuple(one for one in self.refused if one.sha256 != sha256))

    def having_acted(self, request_id: str) -> Self:
        """Note, in the change that does what a request asked, that it is done."""
        return self._but(acted=(*self.acted, request_id)[-ACTED_KEPT:])

    def _still_held(self, model: Installed) -> int | None:
        beyond = self.held is not None and model.release is not None and model.release > self.held
        return None if beyond else self.held

    def _with_refused(self, model: Installed, why: str, now: datetime) -> tuple[Refused, ...]:
        others = tuple(one for one in self.refused if one.sha256 != model.sha256)
        return (*others, Refused(sha256=model.sha256, release=model.release, why=why, at=now))[-REFUSED_KEPT:]

    def _with_trial(self, **changes: object) -> Self:
        assert self.trial is not None  # noqa: S101 - for the type checker: the callers have looked
        return self._but(trial=self.trial.model_copy(update=changes))

    def _ended(self, model: Installed, words: str, now: datetime, *, ok: bool) -> Self:
        return self._but(last_outcome=Outcome(sha256=model.sha256, name=model.name, version=model.version,
                                              words=words, at=now, ok=ok))

    def _but(self, **changes: object) -> Self:
        return self.model_copy(update=changes)


def salvaged(content: bytes) -> StoreState | None:
    """Return what can be understood of a damaged or foreign state.json, None when the active model is not.

    A trial that is not understood begins anew: what it was about is not taken for proven.
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
