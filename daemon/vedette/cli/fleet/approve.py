"""`vedette fleet approve`: gives the yes for which a rollout with `--approve` waits.

Invariants: a yes counts for the step that waits for it, and for no other; a rollout that has stopped needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.broker import printable
from vedette.cli.fleet.arguments import add_fleet_argument
from vedette.fleet.roll_desk import approve

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette fleet approve fleet 7

exit codes:
   0  The rollout goes on with its next step.
  65  There is no such rollout, or it does not wait for a yes.
  69  The folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("release", type=between(int, 1, 2**53 - 1), metavar="N", help="number of the release")


def run(args: argparse.Namespace) -> int:
    """Say yes. Raises: FleetError, StateUnusable."""
    print(printable(f"release {args.release} goes on: {approve(args.folder, args.release)}"))
    return 0
