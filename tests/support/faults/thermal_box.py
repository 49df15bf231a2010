"""A board in a closed box: heat comes with the rate of detection, and leaves through the die and through the box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vedette.device.governor import Governor, Limit

READ_EVERY_S = 2.0
THROTTLES_C = 80.0
SLOWED_TO = 0.6
"""What the firmware leaves of the processor's speed."""


@dataclass(frozen=True)
class Reading:
    """governor.Reading"""

    temperature_c: float | None = None
    throttled_now: tuple[str, ...] | None = None
    cpu_slowed: bool | None = None
    memory_pressed: bool | None = None


@dataclass
class Box:
    """`rise_c`: how much warmer than without any load it gets in the end, at the full rate.

    `die_share` of that comes within `die_s`, the rest within `box_s` (time constants); `other_share` comes whatever
    the rate is.
    """

    idle_c: float
    rise_c: float
    die_share: float = 0.3
    die_s: float = 20.0
    box_s: float = 600.0
    other_share: float = 0.25
    full_per_s: float = 10.0
    die_c: float = 0.0
    box_c: float = 0.0

    @property
    def temperature_c(self) -> float:
        return self.idle_c + self.die_c + self.box_c

    @property
    def throttled(self) -> bool:
        return self.temperature_c >= THROTTLES_C

    def settled_c(self, share: float) -> float:
        """The final temperature at this share of the rate, without throttling."""
        return self.idle_c + self.rise_c * (self.other_share + (1 - self.other_share) * share)

    def passes(self, per_s: float) -> float:
        """Let a reading's time pass with this rate requested; returns the rate that was reached."""
        speed = SLOWED_TO if self.throttled else 1.0
        share = min(per_s / self.full_per_s, 1.0) * speed
        load = self.other_share + (1 - self.other_share) * share
        self.die_c += (self.rise_c * self.die_share * load - self.die_c) * READ_EVERY_S / self.die_s
        self.box_c += (self.rise_c * (1 - self.die_share) * load - self.box_c) * READ_EVERY_S / self.box_s
        return share * self.full_per_s * READ_EVERY_S

    def reading(self) -> Reading:
        """As the kernel reports it: in steps of half a degree, with the firmware's flags."""
        return Reading(round(self.temperature_c * 2) / 2, ("throttled",) if self.throttled else ())


@dataclass
class Course:
    """What happened over some hours: temperatures and shares at each reading, and each change as (second, limit)."""

    temperatures_c: list[float]
    shares: list[float]
    changes: list[tuple[float, Limit]]
    throttled_s: float


def simulate(box: Box, hours: float, governor: Governor | None, *,
         disturb: Callable[[float, Box], None] = lambda at_s, box: None) -> Course:
    """Let hours pass. Without a governor the daemon detects as often as it can."""
    course = Course([], [], [], 0.0)
    limit, detected = Limit(), 0.0
    for tick in range(int(hours * 3600 / READ_EVERY_S)):
        at_s = tick * READ_EVERY_S
        disturb(at_s, box)
        before = limit
        if governor is not None:
            limit = governor.update(box.reading(), int(detected), at_s)
        if limit.step != before.step:
            course.changes.append((at_s, limit))
        detected += box.passes(box.full_per_s if limit.per_s is None else limit.per_s)
        course.temperatures_c.append(box.temperature_c)
        course.shares.append(limit.share)
        course.throttled_s += READ_EVERY_S * box.throttled
    return course
