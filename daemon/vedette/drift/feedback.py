"""What those downstream say of results: right or wrong, each result once, over seven days.

Invariants: the last word about a result counts, and said again it changes nothing; memory is fixed: beyond
`KEPT` the oldest is forgotten, so the rate is that of the newest ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import Field, NonNegativeInt

from vedette.drift.hours import KEPT_HOURS, State, hour_of

KEPT = 500
LABEL_BYTES = 64
LARGEST = 2**53
"""Numbers beyond are no longer exact in JSON."""


class Word(NamedTuple):
    """One result, when it was judged, how, and which label is meant (empty: all of it)."""

    run: Annotated[int, Field(ge=1, le=LARGEST)]
    seq: Annotated[int, Field(ge=1, le=LARGEST)]
    hour: NonNegativeInt
    right: bool
    label: Annotated[str, Field(max_length=LABEL_BYTES)]


class Feedback(State):
    """The newest words, oldest first."""

    words: list[Word] = Field(default_factory=list, max_length=KEPT)

    def add(self, now_s: float, run: int, seq: int, *, right: bool, label: str = "") -> bool:
        """Take a word; returns whether it was news."""
        old = next((word for word in self.words if (word.run, word.seq) == (run, seq)), None)
        if old is not None and (old.right, old.label) == (right, label):
            return False
        others = [word for word in self.words if word is not old]
        self.words = [*others, Word(run, seq, hour_of(now_s), right, label)][-KEPT:]
        return True

    def read(self, now_s: float) -> tuple[int, int]:
        """Return how many results were judged in seven days, and how many of them were wrong."""
        recent = [word.right for word in self.words if word.hour > hour_of(now_s) - KEPT_HOURS]
        return len(recent), len(recent) - sum(recent)


def understood(arguments: Mapping[str, object], *, run: int, published: int) -> tuple[int, int, bool, str]:
    """Return run, seq, right and label of a command's arguments. Raises: ValueError with words for the sender.

    `run` is the present one, in which so many results have been `published`.
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
        raise ValueError(f"there is no result {numbers[1]} of run {numbers[0]} yet")
    return numbers[0], numbers[1], right, label


def _number(name: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise ValueError(f"{name}: expected the number that the result has, got {value!r:.40}")
    return value
