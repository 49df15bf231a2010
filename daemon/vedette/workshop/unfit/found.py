"""One operation of a network that does not fit, where it stands in the source, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vedette.vision.model_spec import INPUT_TYPES
from vedette.workshop.unfit import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vedette.workshop.unfit.rules import Rule

WayOut = Literal["cut", "replace", "custom", "select-tf"]
_NAMES_MAX = 3


@dataclass(frozen=True, slots=True)
class Unfit:
    """One thing that does not fit TFLite's built-in operations, or INT8 on XNNPACK.

    `place` names it as its source does: node and tensors, line, layer. `way_out` is one of four:
    - cut: end the network before it, at the tensors in `cut`. The device's decoder does the rest.
    - replace: change it in the source, and export again.
    - custom: it would become a custom operation, which the device refuses. It must be replaced or cut off.
    - select-tf: only TensorFlow's own kernels have it, which neither runtime holds. It must be replaced or cut off.
    With `refused` the device refuses what becomes of it. Without, it runs, but slowly or not in INT8.
    """

    op: str
    place: str
    why: str
    way_out: WayOut
    advice: str
    cut: tuple[str, ...] = ()
    refused: bool = True

    def __str__(self) -> str:
        cut = f". Cut at: {', '.join(self.cut)}" if self.cut else ""
        return f"{self.op} at {self.place}: {self.why}. Way out ({self.way_out}): {self.advice}{cut}"


def by_rule(op: str, place: str, rule: Rule, tensors: tuple[str, ...] = (), otherwise: WayOut = "replace",
            how: str = "") -> Unfit:
    """Return what a rule says of an operation: cut off at these tensors where there are any, else `otherwise`.

    `how` says how to cut, where no option does it.
    """
    if tensors:
        advice = rule.advice if rule.ends else "cut the network off before it: it belongs to what finds the boxes"
        return Unfit(op, place, rule.why, "cut", advice + how, tensors, rule.refused)
    if rule.ends:
        return Unfit(op, place, rule.why, otherwise, "it cannot be cut off, since layers with weights follow it: take "
                     "a network that ends with its boxes and scores", refused=rule.refused)
    return Unfit(op, place, rule.why, otherwise, rule.advice, refused=rule.refused)


def of_input(place: str, axes: int, dtype: str, *, fixed: bool, opened: Rule = rules.SIZE) -> Iterator[Unfit]:
    """Yield what does not fit in the only input: its number of axes, a size that is not `fixed`, its type.

    `opened` is the rule for an open size.
    """
    if axes != 4:
        yield by_rule("input", place, rules.SHAPE)
    elif not fixed:
        yield by_rule("input", place, opened)
    if dtype not in INPUT_TYPES:
        yield by_rule("input", place, rules.TYPE)


def few(names: tuple[str, ...]) -> str:
    """Return the first names of a list as a text."""
    rest = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return (", ".join(names[:_NAMES_MAX]) or "none") + rest
