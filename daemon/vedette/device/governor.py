"""Decides how many frames a second to detect in, so that the firmware does not have to slow the board down.

Invariants:
- Pure: the board's reading and the time (seconds of a clock that only goes forward) are handed in.
- A spike changes nothing. Figures are smoothed, and must hold for a while.
- One step follows another, and each gets time to work. The rate rises only well below the temperature that lowered it.
  A rise that was reversed is tried again when the board is cooler than at that rise, or after two hours. So the rate
  does not swing.
- Weak power and short memory, which a lower rate may not cure, lower the rate to half at most. A full disk does not
  lower it.
- A value that the board does not give is no reason; a board without a thermometer is never hot.
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
"""A lower rate would save almost nothing."""
COOLER_C = 6.0
"""The rate rises only when the board is this far below the target."""
FAR_C = 3.0
"""When the board is this far above the target, the rate is lowered by two steps at once."""
CHANGED_C = 3.0
"""A rise that failed is tried again when the board is this much cooler than at that rise."""
HELD = 0.5
"""A smoothed yes or no above this counts as yes."""
GONE = 0.1
"""A smoothed yes or no below this counts as no."""


@dataclass(frozen=True, slots=True)
class GovernorTiming:
    """The governor's times, in seconds. A test in real time shortens them."""

    fast: float = 15.0
    slow: float = 60.0
    """Time constants of smoothing. Their difference shows the trend of the temperature: the rate is lowered while the
    temperature rises, and not lowered again while it falls."""
    sustained: float = 20.0
    settle: float = 40.0
    calm: float = 60.0
    tried: float = 7200.0
    """A rise has worked if nothing lowers the rate for this time. A rise that failed is tried again after this time."""
    gap: float = 30.0
    """After a longer time without readings, all figures are deleted."""


NORMAL_TIMING = GovernorTiming()


class Reading(Protocol):
    """The values of the board that count here; None for a value that it does not report."""

    @property
    def temperature_c(self) -> float | None:
        """The processor's temperature."""

    @property
    def throttled_now(self) -> tuple[str, ...] | None:
        """Limits that the firmware applies now, by name."""

    @property
    def cpu_slowed(self) -> bool | None:
        """Whether the kernel keeps the processor below its highest frequency."""

    @property
    def memory_pressed(self) -> bool | None:
        """Whether processes wait for memory."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit that applies: `share` of the full rate, at most `per_s` frames a second; None: all frames.

    `why` says what lowered the rate; `since_s` is the moment of the last step, on the clock of the caller.
    """

    step: int = 0
    share: float = 1.0
    per_s: float | None = None
    why: str | None = None
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Strain:
    """A reason for a lower rate: a message, the lowest step, how many steps at once, and whether it is heat."""

    message: str
    lowest: int
    steps: int = 1
    heat: bool = False


@dataclass(frozen=True, slots=True)
class _FailedRise:
    """A rise to `step` that was reversed at `at_s`. It began at `temperature_c`; None: heat was not the cause."""

    step: int
    temperature_c: float | None
    at_s: float


class Governor:
    """Gets the board's readings, about one a second; one thread. `full_per_s`: the rate until one is measured."""

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

    def update(self, reading: Reading, detected: int, now_s: float, *, rests: bool = False) -> Limit:
        """Use a reading, and the number of frames detected in this run; returns the limit from now on.

        `rests`: the detector could do without some frames since the last reading. Then the rate says nothing.
        """
        timing = self._timing
        passed_s = math.inf if self._read_s is None else now_s - self._read_s
        if passed_s >= timing.gap:
            self._figures.clear()
            self._strained_s = self._calm_s = None
        elif passed_s > 0 and not rests:
            self._measure((detected - self._detected) / passed_s, passed_s)
        self._read_s, self._detected = now_s, detected
        self._smooth(reading, passed_s)
        strain = self._strain()
        self._strained_s = _since(self._strained_s, now_s) if strain else None
        self._calm_s = _since(self._calm_s, now_s) if self._is_calm() else None
        if strain and self._lasts(self._strained_s, timing.sustained) and self._lasts(self._changed_s, timing.settle):
            self._lower(strain, now_s)
        elif self.limit.step and self._lasts(self._calm_s, timing.calm) and self._lasts(self._changed_s, timing.calm) \
                and self._may_rise():
            self._raise(now_s)
        return self.limit

    def reset(self) -> None:
        """Remove the limit, and delete what was measured; the next reading starts again."""
        self.limit, self._read_s, self._felt_s, self._failed = Limit(), None, None, None

    def _measure(self, per_s: float, passed_s: float) -> None:
        """Learn the full rate while nothing limits it. A rate of 0 is a camera without frames, or a pause."""
        if self.limit.step == 0 and per_s > 0:
            self._full_per_s += (per_s - self._full_per_s) * (1 - math.exp(-passed_s / self._timing.fast))

    def _smooth(self, reading: Reading, passed_s: float) -> None:
        now = set(reading.throttled_now or ())
        if reading.temperature_c is not None:
            self._now_c, self._felt_s = reading.temperature_c, self._read_s
            self._figure("temperature", reading.temperature_c, passed_s)
        elif self._lasts(self._felt_s, self._timing.gap):    # a single failed reading changes nothing
            self._now_c = self._felt_s = None
            self._figures.pop("temperature", None)
        self._figure("power", "under_voltage" in now, passed_s)
        # A soft limit alone lowers the clock of a 3B+ by a seventh at 60 degrees: too little to lower the rate.
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
        warm = self._now_c is not None and self._now_c > self.target_c - COOLER_C   # a spike may be over
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
        """Return whether a rise may work: none failed, or it failed long ago, or the board was warmer then."""
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
        self._change(step, strain.message, now_s)

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


def _since(before_s: float | None, now_s: float) -> float:
    """Return since when a condition holds that holds now."""
    return now_s if before_s is None else before_s


class _Smoothed:
    """A figure, smoothed with a short and a long time constant."""

    def __init__(self, value: float) -> None:
        self.fast = self.slow = value

    def add(self, value: float, passed_s: float, timing: GovernorTiming) -> None:
        self.fast += (value - self.fast) * (1 - math.exp(-passed_s / timing.fast))
        self.slow += (value - self.slow) * (1 - math.exp(-passed_s / timing.slow))

    @property
    def ahead(self) -> float:
        """The value in about a minute, if the trend continues."""
        return 2 * self.fast - self.slow
