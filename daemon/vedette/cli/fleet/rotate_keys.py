"""`vedette fleet rotate-keys`: gives a role new keys, which root signs.

Invariants: devices accept the new keys without any work on them; the old key files stay until the operator destroys
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, keys_of, opened
from vedette.fleet.metadata import ROLES

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet rotate-keys fleet timestamp --root-key /media/stick/root-4a0c11de.pem
  vedette fleet rotate-keys fleet root --keys /media/stick/keys

exit codes:
   0  The role has new keys.
  65  Root has expired, or the clock is wrong.
  69  A key or the folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("role", choices=ROLES, metavar="ROLE", help=f"one of {', '.join(ROLES)}")
    add_key_arguments(parser, root=True)


def run(args: argparse.Namespace) -> int:
    """Replace the role's keys. Raises: FleetError, KeyUnusable, ExtraMissing, StateUnusable."""
    with opened(args) as repository:
        keys = keys_of(args, repository)
        old = repository.rotate(keys, args.role)
    print(f"{args.role}: new keys in {keys.path}. Back them up.",
          *(f"  devices trust {keys.file_of(args.role, keyid).name} until their next poll" for keyid in old),
          f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
