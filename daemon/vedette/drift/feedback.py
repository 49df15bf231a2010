"""Feedback of subscribers on results: right or wrong, each result once, over seven days.

Invariants: the last judgement of a result counts, and a repeated one changes nothing; memory is fixed: beyond `KEPT`
the oldest is dropped, so the rate is that of the newest ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import Field, NonNegativeInt

from vedette.drift.hours import KEPT_HOURS, State, hour_of

KEPT = 500
LABEL_BYTES = 64
LARGEST = 2**53
"""Larger numbers are not exact in JSON."""


class Judgement(NamedTuple):
    """The judgement of one result: its time, right or wrong, and the label that it is about (empty: all of them)."""

    run: Annotated[int, Field(ge=1, le=LARGEST)]
    seq: Annotated[int, Field(ge=1, le=LARGEST)]
    hour: NonNegativeInt
    right: bool
    label: Annotated[str, Field(max_length=LABEL_BYTES)]


class Feedback(State):
    """The newest judgements, the oldest first."""

    words: list[Judgement] = Field(default_factory=list, max_length=KEPT)

    def add(self, now_s: float, run: int, seq: int, *, right: bool, label: str = "") -> bool:
        """Add a judgement; returns whether it changed anything."""
        old = next((each for each in self.words if (each.run, each.seq) == (run, seq)), None)
        if old is not None and (old.right, old.label) == (right, label):
            return False
        others = [each for each in self.words if each is not old]
        self.words = [*others, Judgement(run, seq, hour_of(now_s), right, label)][-KEPT:]
        return True

    def read(self, now_s: float) -> tuple[int, int]:
        """Return how many results were judged in seven days, and how many of them were wrong."""
        recent = [each.right for each in self.words if each.hour > hour_of(now_s) - KEPT_HOURS]
        return len(recent), len(recent) - sum(recent)


def parse_feedback(arguments: Mapping[str, object], *, run: int, published: int) -> tuple[int, int, bool, str]:
    """Return run, seq, right and label of a command's arguments. Raises: ValueError with a message for the sender.

    `run` is the present run, `published` the number of results published in it.
    """
    if unknown := arguments.keys() - {"run", "seq", "right", "label"}:
        raise ValueError(f"{', '.join(sorted(unknown)):.40}: expected run, seq, right, and optionally label")
    numbers = [_number(name, arguments.get(name)) for name in ("run", "seq")]
    right, label = arguments.get("right"), arguments.get("label", "")
    if not isinstance(right, bool):
        raise ValueError(f"right: expected true or false, got {right!r:.40}")  # noqa: TRY004 - the sender's value
    if not (isinstance(label, str) and label.isprintable() and len(label.encode()) <= LABEL_BYTES):
        raise ValueError(f"label: expected a text of at most {LABEL_BYTES} bytes")
    if tuple(numbers) > (run, published):
        raise ValueError(f"run {numbers[0]}, seq {numbers[1]}: expected a result that was already published")
    return numbers[0], numbers[1], right, label


def _number(name: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise ValueError(f"{name}: expected the number in the result, got {value!r:.40}")
    return value
