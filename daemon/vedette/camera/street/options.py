"""The options of `camera.source: synthetic?…`: which scene, and when the camera misbehaves.

    synthetic                                          the demo's street
    synthetic?seed=7                                   another one
    synthetic?hard=1                                   stills that are harder for a detector
    synthetic?quiet=1                                  a street in which nobody comes by for minutes
    synthetic?hour=12                                  the light of this hour (0 to 24) for ever
    synthetic?misbehave=freeze:20:10                   20 s normal, 10 s frozen, again and again
    synthetic?misbehave=dark:20:5&misbehave=stall:60:8 several
    synthetic?misbehave=cover:3600:60                  what people or the weather do to a camera: VIEW_FAULTS

Invariants: pure, standard library only. A wrong option is refused, and the message says what was expected. Phases count
frame numbers, so they continue after any restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qsl

from vedette.errors import SourceInvalid

NAME = "synthetic"
DEFAULT_SEED = 5
Misbehaviour = Literal["stall", "freeze", "dark", "slow", "size", "repeat", "garbage", "cover", "move", "defocus",
                       "rain"]
MISBEHAVIOURS: tuple[Misbehaviour, ...] = get_args(Misbehaviour)
VIEW_FAULTS = frozenset({"cover", "move", "defocus", "rain"})
"""Faults of the view: only a comparison with earlier pictures shows them."""
_SWITCHES = ("hard", "quiet")
_EXPECTED = ("expected synthetic, or synthetic?seed=7&hard=1&misbehave=KIND:WELL_S:ILL_S, or quiet=1 or hour=12 for "
             f"hard=1, with KIND one of {', '.join(MISBEHAVIOURS)}")


@dataclass(frozen=True, slots=True)
class Phase:
    """`well_s` seconds of normal work, then `ill_s` seconds of misbehaviour, again and again."""

    kind: Misbehaviour
    well_s: float
    ill_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A misbehaviour that is active, and its frames: `begin` is the first, `end` is the first after it."""

    kind: Misbehaviour
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class SyntheticSource:
    """The options of a synthetic source."""

    seed: int = DEFAULT_SEED
    hard: bool = False
    phases: tuple[Phase, ...] = ()
    quiet: bool = False
    hour: float | None = None
    """The hour whose light lasts. None: a day passes."""

    def fault_at(self, number: int, fps: float) -> Fault | None:
        """Return the first fault that is active at this frame number, or None."""
        for phase in self.phases:
            well, ill = max(0, round(phase.well_s * fps)), max(1, round(phase.ill_s * fps))
            turn, into = divmod(number, well + ill)
            if into >= well:
                begin = turn * (well + ill) + well
                return Fault(phase.kind, begin, begin + ill)
        return None

    def shown_number(self, number: int, fps: float) -> int:
        """Return the number of the frame that is shown: the one where it froze, or else `number`."""
        fault = self.fault_at(number, fps)
        return fault.begin if fault and fault.kind in {"freeze", "repeat"} else number


def is_synthetic(source: str) -> bool:
    """Whether a source names the synthetic camera, whatever its options."""
    return source.partition("?")[0] == NAME


def parse_synthetic(source: str) -> SyntheticSource:
    """Read the options. Raises: SourceInvalid, which says what was expected."""
    _, mark, query = source.partition("?")
    try:
        return _read(parse_qsl(query, strict_parsing=True, keep_blank_values=True) if mark else [])
    except ValueError as error:
        raise SourceInvalid(f"{source}: {error}; {_EXPECTED}") from error


def _read(options: list[tuple[str, str]]) -> SyntheticSource:
    single = {key: value for key, value in options if key != "misbehave"}
    if unknown := single.keys() - {"seed", "hour", *_SWITCHES}:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}")
    if len(single) != sum(key != "misbehave" for key, _ in options):
        raise ValueError("an option other than misbehave is given twice")
    seed = single.get("seed", str(DEFAULT_SEED))
    if not (seed.isascii() and seed.isdigit() and len(seed) < 19):
        raise ValueError(f"seed is {seed!r}, expected a whole number of at most 18 digits")
    for switch in _SWITCHES:
        if single.get(switch, "0") not in {"0", "1"}:
            raise ValueError(f"{switch} is {single[switch]!r}, expected 0 or 1")
    hard, quiet = (single.get(switch) == "1" for switch in _SWITCHES)
    if hard and (quiet or "hour" in single):
        raise ValueError("hard excludes quiet and hour")
    hour = float(single["hour"]) if "hour" in single else None
    if hour is not None and not 0 <= hour <= 24:
        raise ValueError(f"hour is {single['hour']!r}, expected 0 to 24")
    phases = tuple(_phase(value) for key, value in options if key == "misbehave")
    return SyntheticSource(int(seed), hard, phases, quiet, hour)


def _phase(value: str) -> Phase:
    kind, *seconds = value.split(":")
    known = next((each for each in MISBEHAVIOURS if each == kind), None)
    if known is None or len(seconds) != 2:
        raise ValueError(f"misbehave is {value!r}")
    well_s, ill_s = map(float, seconds)
    if not (0 <= well_s <= 86_400 and 0 < ill_s <= 86_400):
        raise ValueError(f"misbehave is {value!r}, expected WELL_S from 0, ILL_S above 0, and both at most a day")
    return Phase(known, well_s, ill_s)
