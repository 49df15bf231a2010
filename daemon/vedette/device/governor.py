"""How many frames a second may be looked at, so that the board stays cooler than where its firmware slows it down.

Invariants:
- Pure: what the board says and the moment, in seconds of a clock that only goes forward, are handed in.
- A spike changes nothing, what lasts does: figures are smoothed, and must hold for a while.
- One step after another, each given time to work. The rate rises only well below what lowered it; a rise that had to be
  taken back is tried again once it is cooler than then, or two hours later, so that the rate does not swing.
- What a lower rate may not cure (weak power, short memory) takes at most half of it. A full disk has nothing to do with
  the rate.
- What the board does not say is no reason; a board without a thermometer is never hot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

STEPS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
"""Shares of the rate that the device has when nothing limits it."""
HALF = STEPS.index(0.5)
LAST = len(STEPS) - 1
LEAST_PER_S = 0.5
"""Rarer looks save nothing worth having."""
COOLER_C = 6.0
"""The rate rises only so far below the target."""
FAR_C = 3.0
"""So far above the target two steps are taken at once."""
CHANGED_C = 3.0
"""So much cooler than at a rise that did not work is another situation."""
HELD = 0.5
"""A yes or no, smoothed, above which it is a yes."""
GONE = 0.1


@dataclass(frozen=True, slots=True)
class GovernorTiming:
    """How long things take, in seconds. A test in real time has its own."""

    fast: float = 15.0
    slow: float = 60.0
    """Time constants of smoothing. Where the two differ tells where the heat is going: so it is stopped on its way up,
    and not lowered again while it is on its way down."""
    sustained: float = 20.0
    settle: float = 40.0
    calm: float = 60.0
    tried: float = 7200.0
    """A rise has worked when nothing lowers the rate for so long; and one that has not is tried again after it."""
    gap: float = 30.0
    """After a longer silence of the board nothing is known of what lasts."""


NORMAL_TIMING = GovernorTiming()


class Reading(Protocol):
    """What counts of the board at one moment; None where it cannot say."""

    @property
    def temperature_c(self) -> float | None:
        """Of the processor."""

    @property
    def throttled_now(self) -> tuple[str, ...] | None:
        """What the firmware does now, by name."""

    @property
    def cpu_slowed(self) -> bool | None:
        """Whether the kernel keeps the processor below its highest frequency."""

    @property
    def memory_pressed(self) -> bool | None:
        """Whether processes wait for memory."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What is in force: `share` of the full rate, at most `per_s` frames a second, None for as many as there are.

    `why` tells what lowered it, in words; `since_s` is the moment of the last step.
    """

    step: int = 0
    share: float = 1.0
    per_s: float | None = None
    why: str | None = None
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Strain:
    """What speaks for a lower rate: in words, which step at most, how many at once, and whether it is the heat."""

    words: str
    lowest: int
    steps: int = 1
    heat: bool = False


@dataclass(frozen=True, slots=True)
class _FailedRise:
    """A rise to this step had to be taken back at this moment; it began at this temperature, None: not for heat."""

    step: int
    temperature_c: float | None
    at_s: float


class Governor:
    """Fed with the board's readings, every few seconds; one thread. `full_per_s`: the rate until one is measured."""

    def __init__(self, target_c: float, full_per_s: float, timing: GovernorTiming = NORMAL_TIMING) -> None:
        self.target_c = target_c
        self.limit = Limit()
        self._timing = timing
        self._full_per_s = full_per_s
        self._detected = 0
        self._figures: dict[str, _Smoothed] = {}
        self._now_c: float | None = None
        self._felt_s: float | None = None
        self._read_s: float | None = None
        self._strained_s: float | None = None
        self._calm_s: float | None = None
        self._changed_s = -math.inf
        self._raised_s = -math.inf
        self._raised_c: float | None = None
        self._failed: _FailedRise | None = None

    def __repr__(self) -> str:
        return f"<Governor {self.limit}>"

    def look(self, reading: Reading, detected: int, now_s: float) -> Limit:
        """Take a reading, and how many frames were looked at in this run; returns what is in force from now on."""
        timing = self._timing
        passed_s = math.inf if self._read_s is None else now_s - self._read_s
        if passed_s >= timing.gap:
            self._figures.clear()
            self._strained_s = self._calm_s = None
        elif passed_s > 0:
            self._measure((detected - self._detected) / passed_s, passed_s)
        self._read_s, self._detected = now_s, detected
        self._smooth(reading, passed_s)
        strain = self._strain()
        self._strained_s = None if strain is None else now_s if self._strained_s is None else self._strained_s
        self._calm_s = None if not self._is_calm() else now_s if self._calm_s is None else self._calm_s
        if strain and self._lasts(self._strained_s, timing.sustained) and self._lasts(self._changed_s, timing.settle):
            self._lower(strain, now_s)
        elif self.limit.step and self._lasts(self._calm_s, timing.calm) and self._lasts(self._changed_s, timing.calm) \
                and self._may_rise():
            self._raise(now_s)
        return self.limit

    def give_up(self) -> None:
        """Limit nothing, and forget what was seen; the next reading begins anew."""
        self.limit, self._read_s, self._felt_s, self._failed = Limit(), None, None, None

    def _measure(self, per_s: float, passed_s: float) -> None:
        """Learn the full rate while nothing limits it. No frame at all is a camera that is away, or a pause."""
        if self.limit.step == 0 and per_s > 0:
            self._full_per_s += (per_s - self._full_per_s) * (1 - math.exp(-passed_s / self._timing.fast))

    def _smooth(self, reading: Reading, passed_s: float) -> None:
        now = set(reading.throttled_now or ())
        if reading.temperature_c is not None:
            self._now_c, self._felt_s = reading.temperature_c, self._read_s
            self._figure("temperature", reading.temperature_c, passed_s)
        elif self._lasts(self._felt_s, self._timing.gap):    # one reading that fails changes nothing
            self._now_c = self._felt_s = None
            self._figures.pop("temperature", None)
        self._figure("power", "under_voltage" in now, passed_s)
        # A soft limit alone takes a seventh off the clock of a 3B+ at 60 degrees: that is worth no frame.
        self._figure("slowed", bool(now & {"frequency_capped", "throttled"}) or bool(reading.cpu_slowed), passed_s)
        self._figure("memory", bool(reading.memory_pressed), passed_s)

    def _figure(self, name: str, value: float, passed_s: float) -> None:
        if name in self._figures:
            self._figures[name].add(value, passed_s, self._timing)
        else:
            self._figures[name] = _Smoothed(value if name == "temperature" else 0.0)

    def _holds(self, name: str) -> bool:
        return self._figures[name].fast > HELD

    def _strain(self) -> _Strain | None:
        found = []
        temperature = self._figures.get("temperature")
        warm = self._now_c is not None and self._now_c > self.target_c - COOLER_C   # a spike that is over is over
        if temperature is not None and warm and temperature.ahead >= self.target_c:
            far = temperature.ahead >= self.target_c + FAR_C
            found.append(_Strain(f"{temperature.fast:.0f} degrees Celsius", LAST, 2 if far else 1, heat=True))
        if self._holds("power"):
            found.append(_Strain("the supply voltage is too low", HALF))
        elif self._holds("slowed"):
            found.append(_Strain("the processor is being slowed down", LAST if warm else HALF))
        if self._holds("memory"):
            found.append(_Strain("processes wait for memory", HALF))
        return max(found, key=lambda strain: (strain.lowest, strain.steps), default=None)

    def _is_calm(self) -> bool:
        temperature = self._figures.get("temperature")
        cool = temperature is None or temperature.ahead <= self.target_c - COOLER_C
        return cool and all(figure.fast < GONE for name, figure in self._figures.items() if name != "temperature")

    def _may_rise(self) -> bool:
        """Whether a rise may work: it has not failed, or long ago, or when it was warmer."""
        failed, step = self._failed, self.limit.step
        if failed is None or failed.step < step - 1 or self._lasts(failed.at_s, self._timing.tried):
            return True
        temperature = self._figures.get("temperature")
        return failed.step == step - 1 and temperature is not None and failed.temperature_c is not None \
            and temperature.fast <= failed.temperature_c - CHANGED_C

    def _lower(self, strain: _Strain, now_s: float) -> None:
        step = max(self.limit.step, min(self.limit.step + strain.steps, strain.lowest))
        if step == self.limit.step:
            return
        if not self._lasts(self._raised_s, self._timing.tried):
            raised_c = self._raised_c if strain.heat else None
            self._failed, self._raised_s = _FailedRise(self.limit.step, raised_c, now_s), -math.inf
        self._change(step, strain.words, now_s)

    def _raise(self, now_s: float) -> None:
        temperature = self._figures.get("temperature")
        self._raised_s, self._raised_c = now_s, None if temperature is None else temperature.fast
        self._change(self.limit.step - 1, self.limit.why, now_s)

    def _change(self, step: int, why: str | None, now_s: float) -> None:
        per_s = max(STEPS[step] * self._full_per_s, min(self._full_per_s, LEAST_PER_S))
        self.limit = Limit(step, STEPS[step], per_s, why, now_s) if step else Limit()
        self._changed_s = now_s

    def _lasts(self, since_s: float | None, at_least_s: float) -> bool:
        return since_s is not None and self._read_s is not None and self._read_s - since_s >= at_least_s


class _Smoothed:
    """A figure, smoothed for a short and a long time."""

    def __init__(self, value: float) -> None:
        self.fast = self.slow = value

    def add(self, value: float, passed_s: float, timing: GovernorTiming) -> None:
        self.fast += (value - self.fast) * (1 - math.exp(-passed_s / timing.fast))
        self.slow += (value - self.slow) * (1 - math.exp(-passed_s / timing.slow))

    @property
    def ahead(self) -> float:
        """Where it will be in a minute or so, should it go on like this."""
        return 2 * self.fast - self.slow


class Pace:
    """Lets so many frames a second through, on average. One thread asks; `per_s` may be set from any."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._due_ns = 0

    def left_s(self, now_ns: int) -> float:
        """Return how long no frame is due, in seconds."""
        return 0.0 if self.per_s is None else max(0.0, (self._due_ns - now_ns) / 1e9)

    def admits(self, now_ns: int) -> bool:
        """Return whether a frame is due now; if so, it is taken as looked at."""
        per_s = self.per_s
        if per_s is None:
            return True
        if now_ns < self._due_ns:
            return False
        interval_ns = int(1e9 / per_s)
        in_time = now_ns - self._due_ns < interval_ns
        self._due_ns = (self._due_ns if in_time else now_ns) + interval_ns
        return True
