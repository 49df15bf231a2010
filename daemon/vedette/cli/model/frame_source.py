"""The frames of `model eval`, `compare` and `quantize`, one by one, with the progress on a terminal.

Invariants: the order of the frames is fixed and is the same for every model.
"""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from vedette.cli.arguments import between
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from vedette.camera.street.stills import Still

T = TypeVar("T")


def add_synthetic_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the drawn street as a source."""
    parser.add_argument("--source", type=_synthetic, metavar="SOURCE",
                        help="synthetic, the drawn street; or synthetic?hard=1, a new difficult street in each frame")
    parser.add_argument("--frames", type=between(int, 1, 100_000), default=500, metavar="N",
                        help="number of drawn frames (500)")
    parser.add_argument("--seed", type=between(int, 0, 2**62), metavar="S",
                        help="seed of the first drawn street (default: streets that no model was trained on)")
    parser.add_argument("--rate", type=between(float, 0.1, 60), metavar="R",
                        help="R frames per second of one street in which things move")


def synthetic_frames(args: argparse.Namespace) -> Iterator[Still]:
    """Return the synthetic frames with their truth, one by one. Raises: UsageError."""
    from vedette.camera.street.options import parse_synthetic
    from vedette.camera.street.scene import HELD_OUT_SEED
    from vedette.camera.street.stills import moving, stills
    source = parse_synthetic(args.source)
    seed = HELD_OUT_SEED if args.seed is None else args.seed
    if "seed=" in args.source:
        if args.seed is not None:
            raise UsageError(f"--source {args.source} --seed {args.seed}: expected one seed")
        seed = source.seed
    if args.rate is None and not source.quiet:
        return stills(args.frames, hard=source.hard, seed=seed)
    if args.rate is None or source.hard:
        raise UsageError(f"--source {args.source}: expected --rate with quiet=1, and none with hard=1")
    return moving(replace(source, seed=seed), args.frames, args.rate)


def _synthetic(text: str) -> str:
    from vedette.camera.street.options import is_synthetic, parse_synthetic
    from vedette.errors import SourceInvalid
    try:
        if is_synthetic(text) and not parse_synthetic(text).phases:
            return text
    except SourceInvalid as error:
        raise ArgumentTypeError(str(error)) from error
    raise ArgumentTypeError(f"{text!r}, expected synthetic, with seed=, hard=1 or quiet=1 after a question mark")


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many of the items, evenly spread."""
    count = min(most, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def with_progress(items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items. If standard error is a terminal, it shows their number."""
    shown = sys.stderr.isatty()
    for number, item in enumerate(items, 1):
        yield item
        if shown:
            end = "\n" if number == total else ""
            print(f"\r{number}/{total}", end=end, file=sys.stderr, flush=True)
