"""`vedette fleet withdraw`: withdraws a release; devices go back to the release that then matches them.

Invariants: the model's file stays where it is; the number of a withdrawn release is never used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, describe, keys_of, opened

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette fleet withdraw fleet 7

exit codes:
   0  The release is withdrawn.
  65  There is no such release, root has expired, or the clock is wrong.
  69  A key or the folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("release", type=between(int, 1, 2**53 - 1), metavar="N", help="number of the release")
    add_key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Withdraw it. Raises: FleetError, KeyUnusable, StateUnusable."""
    with opened(args) as repository:
        release = repository.withdraw(keys_of(args, repository), args.release)
        left = [target.release for target in repository.targets]
    print(f"withdrawn: {describe(release)}", *(f"left: {describe(each)}" for each in left),
          f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
