"""The frames of `model eval` and `model compare`, one by one, with the progress on a terminal.

Invariants: the order of the frames is fixed and is the same for every model.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from vedette.cli.arguments import between

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from vedette.camera.street.stills import Still

SYNTHETIC = ("synthetic", "synthetic?hard=1")
T = TypeVar("T")


def add_synthetic_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the drawn street as a source."""
    parser.add_argument("--source", choices=SYNTHETIC, help="the drawn street, or a new difficult street in each frame")
    parser.add_argument("--frames", type=between(int, 1, 100_000), default=500, metavar="N",
                        help="number of drawn frames (500)")
    parser.add_argument("--seed", type=between(int, 0, 2**62), metavar="S",
                        help="seed of the first drawn street (default: streets that no model was trained on)")


def synthetic_frames(args: argparse.Namespace) -> Iterator[Still]:
    """Return the synthetic frames with their truth, one by one."""
    from vedette.camera.street.scene import HELD_OUT_SEED
    from vedette.camera.street.stills import stills
    seed = HELD_OUT_SEED if args.seed is None else args.seed
    return stills(args.frames, hard=args.source == SYNTHETIC[1], seed=seed)


def with_progress(items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items. If standard error is a terminal, it shows their number."""
    shown = sys.stderr.isatty()
    for number, item in enumerate(items, 1):
        yield item
        if shown:
            end = "\n" if number == total else ""
            print(f"\r{number}/{total}", end=end, file=sys.stderr, flush=True)
