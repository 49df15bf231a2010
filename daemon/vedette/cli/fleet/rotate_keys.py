"""`vedette fleet rotate-keys`: gives roles new keys, which root signs.

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
  vedette fleet rotate-keys fleet timestamp snapshot targets --root-key /media/stick/root-4a0c11de.pem
  vedette fleet rotate-keys fleet root --keys /media/stick/keys

exit codes:
   0  The roles have new keys.
  65  Root has expired, or the clock is wrong.
  69  A key or the folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("roles", choices=ROLES, metavar="ROLE", nargs="+", help=f"some of {', '.join(ROLES)}")
    add_key_arguments(parser, root=True)


def run(args: argparse.Namespace) -> int:
    """Replace the keys of the roles. Raises: FleetError, KeyUnusable, ExtraMissing, StateUnusable."""
    with opened(args) as repository:
        keys = keys_of(args, repository)
        for role in args.roles:
            old = repository.rotate(keys, role)
            print(f"{role}: new keys in {keys.path}. Back them up.",
                  *(f"  devices trust {keys.file_of(role, keyid).name} until their next poll" for keyid in old),
                  sep="\n")
    print(f"next: vedette fleet publish {args.folder} DEST")
    return 0
