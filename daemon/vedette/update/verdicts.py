"""Decides from the evidence whether a model in shadow is accepted, and whether a model on trial is good.

Invariants: pure; time is handed in, not read; memory is bounded however long it takes; a verdict's message has its
figures. Without enough evidence the verdict is `undecided`, and its message says what is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from vedette.store.release import ShadowRequirement, TrialRequirement
from vedette.types import Detection, UpdateCode
from vedette.validate.agreement import match

Ruling = Literal["accepted", "refused", "good", "bad", "undecided"]

TIMES_MAX = 1000
LEAST_FRAMES = 10
"""With fewer compared frames, a candidate is not refused for its figures at the deadline: they may be chance."""
LEAST_ERRORS = 10
"""This many failed frames end a trial early, if their share is too large."""
SIGHTINGS = 10
"""A model is blind or not by the last ten frames in which the previous model detected something, never by fewer."""
BLIND_SHARE = 0.2
_TOOK, _SLOW = "takes", "slow"
"""How the faults begin that a busy moment may cause."""
SPELL_S = 20.0
SPELL_FRAMES = 3
SLOW_SPELLS = 2
"""A model is slow if it is slow in this many spells in a row, each of `SPELL_S` and at least `SPELL_FRAMES` frames in
which both models were timed. A busy moment slows both, so it is no fault of the new one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, and a message with its figures. A shadow is accepted or refused, a trial good or bad.

    Not `lasting`: the cause may be a busy device and not the model, so a higher release is tried again. `code`: what is
    wrong, where the model is refused or bad.
    """

    ruling: Ruling
    message: str
    lasting: bool = True
    code: UpdateCode = "good"


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """How a candidate compares so far. `agreement` is F1; the others are None if there was nothing to measure."""

    frames: int
    agreement: float
    score_shift: float | None
    latency_ratio: float | None


def _code(fault: str) -> UpdateCode:
    codes: dict[str, UpdateCode] = {"agreement": "agreement", "scores": "agreement", _TOOK: "slow", _SLOW: "slow",
                                    "detection": "errors", "blind": "blind"}
    return codes[fault.split(maxsplit=1)[0].rstrip(":")]


class ShadowTally:
    """The evidence of the frames in which both a candidate and the active model detected."""

    def __init__(self, requirement: ShadowRequirement) -> None:
        self._required = requirement
        self._frames = 0
        self._pairs = 0
        self._unpaired = 0
        self._shift = 0.0
        self._active_ms: deque[float] = deque(maxlen=TIMES_MAX)
        self._candidate_ms: deque[float] = deque(maxlen=TIMES_MAX)

    def __repr__(self) -> str:
        return f"<ShadowTally {self.figures}>"

    @property
    def figures(self) -> ShadowFigures:
        """What was measured so far."""
        boxes = 2 * self._pairs + self._unpaired
        active_ms = median(self._active_ms) if self._active_ms else 0.0
        return ShadowFigures(
            self._frames, 2 * self._pairs / boxes if boxes else 1.0, self._shift / self._pairs if self._pairs else None,
            median(self._candidate_ms) / active_ms if active_ms > 0 else None)

    def add(self, active: Sequence[Detection], candidate: Sequence[Detection], active_ms: float,
            candidate_ms: float) -> None:
        """Count one frame; both times are of the same stage, such as `invoke_ms`."""
        found = match(active, candidate)
        self._frames += 1
        self._pairs += len(found.pairs)
        self._unpaired += len(found.only_one) + len(found.only_other)
        self._shift += sum(pair.score_shift for pair in found.pairs)
        self._active_ms.append(active_ms)
        self._candidate_ms.append(candidate_ms)

    def verdict(self, minutes: float, *, held_minutes: float = 0.0) -> Verdict:
        """Decide after `minutes` in shadow; `held_minutes` of them do not count for the deadline.

        At the deadline the configured outcome applies only if evidence is missing. Evidence against the candidate
        still counts.
        """
        required = self._required
        summary = self._summary()
        enough = self._frames >= required.frames and minutes >= required.minutes
        late = minutes - held_minutes >= required.deadline_minutes
        if not enough and not late:
            return Verdict("undecided", f"{self._frames} of {required.frames} frames, "
                                        f"{minutes:.1f} of {required.minutes:g} minutes: {summary}")
        faults = self._faults() if self._frames >= min(required.frames, LEAST_FRAMES) else []
        if faults:
            return Verdict("refused", f"in shadow over {self._frames} frames: {', '.join(faults)}",
                           lasting=not all(fault.startswith(_TOOK) for fault in faults), code=_code(faults[0]))
        if enough:
            return Verdict("accepted", f"in shadow over {self._frames} frames: {summary}")
        return Verdict("accepted" if required.on_deadline == "accept" else "refused",
                       f"in shadow only {self._frames} of {required.frames} frames were compared within "
                       f"{required.deadline_minutes:g} minutes", lasting=False, code="no_evidence")

    def _faults(self) -> list[str]:
        required, seen = self._required, self.figures
        faults = []
        if seen.agreement < required.min_agreement:
            faults.append(f"agreement {seen.agreement:.2f}, expected at least {required.min_agreement:g}")
        if seen.score_shift is not None and abs(seen.score_shift) > required.max_score_shift:
            faults.append(f"scores shifted by {seen.score_shift:+.2f}, expected at most {required.max_score_shift:g}")
        if seen.latency_ratio is not None and seen.latency_ratio > required.max_latency_ratio:
            faults.append(f"{_TOOK} {seen.latency_ratio:.2f} times as long, expected at most "
                          f"{required.max_latency_ratio:g}")
        return faults

    def _summary(self) -> str:
        seen = self.figures
        shift = "" if seen.score_shift is None else f", scores {seen.score_shift:+.2f}"
        ratio = "" if seen.latency_ratio is None else f", {seen.latency_ratio:.2f} times the time"
        sight = "" if self._pairs or self._unpaired else " (neither model detected anything)"
        return f"agreement {seen.agreement:.2f}{sight}{shift}{ratio}"


class TrialTally:
    """The evidence since a model became active. `frames` and `seconds`: evidence of earlier starts.

    Without a previous model, neither blindness nor slowness is checked. `what`: what is on trial.
    """

    def __init__(self, requirement: TrialRequirement, *, has_previous: bool, frames: int = 0,
                 seconds: float = 0.0, what: str = "model") -> None:
        self._what = what
        self._required = requirement
        self.has_previous = has_previous
        """Whether sightings are missing as long as there are too few."""
        self.frames = frames
        self.seconds = seconds
        self._errors = 0
        self._active_ms: deque[float] = deque(maxlen=TIMES_MAX)
        self._previous_ms: deque[float] = deque(maxlen=TIMES_MAX)
        self._spell_s = 0.0
        self._slow: list[tuple[float, float]] = []
        """For each slow spell in a row: the model's time, and the most that was expected, in milliseconds."""
        self._sightings: deque[bool] = deque(maxlen=SIGHTINGS)

    def __repr__(self) -> str:
        return f"<TrialTally {self.verdict().message}>"

    def detected(self, *, throttled: bool = False) -> None:
        """Count a frame in which the model detected. Frames of a throttled board are no evidence."""
        self.frames += not throttled

    def failed(self) -> None:
        """Count a frame on which the model failed."""
        self._errors += 1

    def compared(self, previous: Sequence[Detection], active: Sequence[Detection], *, previous_ms: float,
                 active_ms: float) -> None:
        """Count a frame in which both models detected, and the time of the same stage of each.

        Its detections count only if the previous model found something.
        """
        self._previous_ms.append(previous_ms)
        self._active_ms.append(active_ms)
        if previous:
            self._sightings.append(bool(active))

    def forget_sightings(self) -> None:
        """Delete the comparisons so far: they were made with settings that are no longer in use."""
        self._sightings.clear()

    def elapsed(self, seconds: float, *, throttled: bool = False, governed: bool = False) -> None:
        """Count time in which the camera gave frames. The time of a throttled board is no evidence.

        At a governed rate the models' times are no evidence either: the processor rests between frames.
        """
        if throttled:
            self._begin_spell()
            return
        self.seconds += seconds
        if governed:
            self._begin_spell()
            if len(self._slow) < SLOW_SPELLS:
                self._slow.clear()
            return
        self._spell_s += seconds
        if self._spell_s >= SPELL_S and len(self._active_ms) >= SPELL_FRAMES:
            self._end_spell()

    def verdict(self) -> Verdict:
        """Decide from the evidence so far."""
        if faults := self._faults():
            return Verdict("bad", f"on trial after {self.frames} frames: {faults[0]}",
                           lasting=not faults[0].startswith(_SLOW), code=_code(faults[0]))
        if missing := self._missing():
            return Verdict("undecided", f"on trial: {', '.join(missing)}")
        return Verdict("good", f"on trial over {self.frames} frames and {self.seconds / 60:.1f} minutes: "
                               f"{self._errors} errors")

    def _end_spell(self) -> None:
        if self._is_slow_now:
            self._slow.append((median(self._active_ms), self._slowest_ms))
        elif len(self._slow) < SLOW_SPELLS:
            self._slow.clear()
        self._begin_spell()

    def _begin_spell(self) -> None:
        self._active_ms.clear()
        self._previous_ms.clear()
        self._spell_s = 0.0

    def _faults(self) -> list[str]:
        faults = []
        share = self._errors / max(1, self.frames + self._errors)
        if share > self._required.max_error_share and (self._errors >= LEAST_ERRORS or not self._missing()):
            faults.append(f"detection failed in {share:.0%} of the frames, expected at most "
                          f"{self._required.max_error_share:.0%}")
        if len(self._slow) >= SLOW_SPELLS:
            took_ms, most_ms = self._slow[-1]
            faults.append(f"{_SLOW}: {took_ms:.1f} ms for a frame, expected at most {most_ms:.1f}, "
                          f"{self._required.max_latency_ratio:g} times the time of the previous {self._what}")
        seen, sightings = sum(self._sightings), len(self._sightings)
        if sightings >= SIGHTINGS and seen <= BLIND_SHARE * sightings:
            faults.append(f"blind: detected something in {seen} of the last {sightings} frames in which the previous "
                          f"{self._what} did")
        return faults

    def _missing(self) -> list[str]:
        required, sightings, missing = self._required, len(self._sightings), []
        if self.frames < required.frames:
            missing.append(f"{self.frames} of {required.frames} frames")
        if self.seconds < required.minutes * 60:
            missing.append(f"{self.seconds / 60:.1f} of {required.minutes:g} minutes")
        if self.has_previous and sightings < SIGHTINGS:
            missing.append(f"{sightings} of {SIGHTINGS} frames in which the previous {self._what} detected something")
        if self._slow or self._is_slow_now:
            most_ms = self._slow[-1][1] if self._slow else self._slowest_ms
            missing.append(f"whether it stays slower than {most_ms:.1f} ms a frame")
        return missing

    @property
    def _slowest_ms(self) -> float:
        """The longest time that is not slow, by what the previous model takes in the same spell."""
        return self._required.max_latency_ratio * median(self._previous_ms)

    @property
    def _is_slow_now(self) -> bool:
        return len(self._active_ms) >= SPELL_FRAMES and median(self._active_ms) > self._slowest_ms
