"""Where to cut a graph so that its last part falls away: the tensors that become the outputs.

Invariants: each tensor of the cut depends on an input; none depends on what is cut off; none follows from the others.
Parts of one tensor are given as this tensor, which is what a plain export of the network gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence


class Step(NamedTuple):
    """One operation as the cut sees it.

    `learned`: it has weights. `choice`: it prepares a choice, such as the best of all scores. `part`: its output has
    values of its first input and nothing else. `turned`: it has all of them, with the axes in another order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    learned: bool = False
    choice: bool = False
    part: bool = False
    turned: bool = False


class Cut(NamedTuple):
    """The tensors to cut at, and the numbers of the steps that fall away. Both are empty where no cut is of use."""

    tensors: tuple[str, ...] = ()
    lost: frozenset[int] = frozenset()


def before(steps: Sequence[Step], first: Collection[int], inputs: Collection[str], outputs: Sequence[str]) -> Cut:
    """Return the cut by which the steps of numbers `first` and all that follows from them fall away.

    None is of use where a learned layer follows, or where nothing but the inputs of the network is left.
    """
    lost = _after(steps, first)
    if not first or any(steps[index].learned for index in lost):
        return Cut()
    lost = _with_choices(steps, lost, outputs)
    kept = [step for index, step in enumerate(steps) if index not in lost]
    made = {name for step in kept for name in step.outputs}
    wanted = (*(name for index in sorted(lost) for name in steps[index].inputs), *outputs)
    names = [name for name in dict.fromkeys(wanted) if name in made and _follows(kept, inputs, name)]
    for name in names[::-1]:
        others = [other for other in names if other != name]
        if name not in outputs and not _follows(kept, set(inputs), name, others):
            names = others
    tensors = tuple(names) if set(names) & set(outputs) else _whole(kept, names)
    return Cut(tensors, frozenset(lost)) if tensors else Cut()


def _after(steps: Sequence[Step], first: Collection[int]) -> set[int]:
    lost, names = set(first), {name for index in first for name in steps[index].outputs}
    for index, step in enumerate(steps):
        if not names.isdisjoint(step.inputs):
            lost.add(index)
            names.update(step.outputs)
    return lost


def _with_choices(steps: Sequence[Step], lost: set[int], outputs: Sequence[str]) -> set[int]:
    """Add the choices on whose results only what falls away depends."""
    used = set(outputs)
    found = set(lost)
    for index, step in reversed(list(enumerate(steps))):
        if step.choice and used.isdisjoint(step.outputs):
            found.add(index)
        if index not in found:
            used.update(step.inputs)
    return found


def _follows(steps: Sequence[Step], inputs: Collection[str], wanted: str, given: Collection[str] = ()) -> bool:
    """Whether a tensor still depends on an input where some tensors are given."""
    reached = set(inputs)
    for step in steps:
        if not reached.isdisjoint(step.inputs):
            reached.update(name for name in step.outputs if name not in given)
    return wanted in reached


def _whole(steps: Sequence[Step], names: Sequence[str]) -> tuple[str, ...]:
    """Replace several tensors by the nearest one of which they all are parts."""
    makers = {name: step for step in steps for name in step.outputs}
    origins = [list(_origins(makers, name)) for name in names]
    shared = [name for name in origins[0] if all(name in others for others in origins)] if len(names) > 1 else []
    if not shared:
        return tuple(names)
    whole = shared[0]
    while (maker := makers.get(whole)) is not None and maker.turned:
        whole = maker.inputs[0]
    return (whole,)


def _origins(makers: Mapping[str, Step], name: str) -> Iterator[str]:
    """Yield the tensor, that of which it is a part, and so on."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        yield name
        maker = makers.get(name)
        if maker is not None and (maker.part or maker.turned) and maker.inputs:
            name = maker.inputs[0]
