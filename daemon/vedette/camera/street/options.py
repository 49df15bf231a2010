"""What `camera.source: synthetic?…` asks for: which scene, and when it is to misbehave.

    synthetic                                          the demo's street
    synthetic?seed=7                                   another one
    synthetic?hard=1                                   stills that ask more of a detector
    synthetic?misbehave=freeze:20:10                   20 s well, 10 s frozen, and so on
    synthetic?misbehave=dark:20:5&misbehave=stall:60:8 several
    synthetic?misbehave=cover:3600:60                  what is done to a camera, or the weather does: SPOILT

Invariants: pure, standard library only; what is not understood is refused, naming what was expected. Phases count on
the clock of the frame numbers, so they go on over any restart.
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
SPOILT = frozenset({"cover", "move", "defocus", "rain"})
"""Those that only what the picture looked like before can tell."""
_EXPECTED = ("expected synthetic, or synthetic?seed=7&hard=1&misbehave=KIND:WELL_S:ILL_S "
             f"with KIND one of {', '.join(MISBEHAVIOURS)}")


@dataclass(frozen=True, slots=True)
class Phase:
    """`well_s` seconds as it should be, then `ill_s` seconds not, over and over."""

    kind: Misbehaviour
    well_s: float
    ill_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A misbehaviour that is on, and the frames it takes: from `begin` to before `end`."""

    kind: Misbehaviour
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class SyntheticSource:
    """The options of a synthetic source."""

    seed: int = DEFAULT_SEED
    hard: bool = False
    phases: tuple[Phase, ...] = ()

    def fault_at(self, number: int, fps: float) -> Fault | None:
        """Return the first fault that is on at this frame number."""
        for phase in self.phases:
            well, ill = max(0, round(phase.well_s * fps)), max(1, round(phase.ill_s * fps))
            turn, into = divmod(number, well + ill)
            if into >= well:
                begin = turn * (well + ill) + well
                return Fault(phase.kind, begin, begin + ill)
        return None

    def shown(self, number: int, fps: float) -> int:
        """Return which frame is shown in the place of this one: while it holds still, the one it stopped at."""
        fault = self.fault_at(number, fps)
        return fault.begin if fault and fault.kind in {"freeze", "repeat"} else number


def is_synthetic(source: str) -> bool:
    """Whether a source names the synthetic camera, whatever its options."""
    return source.partition("?")[0] == NAME


def parse_synthetic(source: str) -> SyntheticSource:
    """Read the options. Raises: SourceInvalid, saying what was expected."""
    _, mark, query = source.partition("?")
    try:
        return _read(parse_qsl(query, strict_parsing=True, keep_blank_values=True) if mark else [])
    except ValueError as error:
        raise SourceInvalid(f"{source}: {error}; {_EXPECTED}") from error


def _read(options: list[tuple[str, str]]) -> SyntheticSource:
    single = {key: value for key, value in options if key != "misbehave"}
    if unknown := single.keys() - {"seed", "hard"}:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}")
    if len(single) != sum(key != "misbehave" for key, _ in options):
        raise ValueError("seed or hard is given twice")
    seed, hard = single.get("seed", str(DEFAULT_SEED)), single.get("hard", "0")
    if not (seed.isascii() and seed.isdigit() and len(seed) < 19):
        raise ValueError(f"seed {seed!r} is no whole number from 0")
    if hard not in {"0", "1"}:
        raise ValueError(f"hard is {hard!r}, not 0 or 1")
    return SyntheticSource(int(seed), hard == "1", tuple(_phase(value) for key, value in options if key == "misbehave"))


def _phase(value: str) -> Phase:
    kind, *seconds = value.split(":")
    known = next((each for each in MISBEHAVIOURS if each == kind), None)
    if known is None or len(seconds) != 2:
        raise ValueError(f"misbehave is {value!r}")
    well_s, ill_s = map(float, seconds)
    if not (0 <= well_s <= 86_400 and 0 < ill_s <= 86_400):
        raise ValueError(f"misbehave is {value!r}: seconds must be above 0 and at most a day")
    return Phase(known, well_s, ill_s)
