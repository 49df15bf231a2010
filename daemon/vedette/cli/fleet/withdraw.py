"""`vedette fleet withdraw`: a release is taken back; devices return to what then matches.

Invariants: the file stays where it is; a withdrawn number is never given again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, keys_of, opened, words_of

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette fleet withdraw fleet 7

exit codes: 0; 65 when it is not released, root has expired or the clock is wrong; 69 when a key or the folder cannot be
used"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("release", type=between(int, 1, 2**53 - 1), metavar="N", help="the release's number")
    add_key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Take it back. Raises: FleetError, KeyUnusable, StateUnusable."""
    with opened(args) as repository:
        release = repository.withdraw(keys_of(args, repository), args.release)
        left = [target.release for target in repository.targets]
    print(f"withdrawn: {words_of(release)}", *(f"left: {words_of(each)}" for each in left),
          f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
