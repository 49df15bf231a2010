"""`vedette fleet renew`: renews the signatures before they expire.

Invariants: no release changes; metadata in the first half of its term is not renewed, so devices need not fetch it
again; the timestamp is always renewed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, expiry_lines, keys_of, opened

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet renew fleet && vedette fleet publish fleet /srv/www/models        # once a week, by cron
  vedette fleet renew fleet --days 120                                            # if nobody can renew for long
  vedette fleet renew fleet --root-key /media/stick/root-4a0c11de.pem             # renews root too

exit codes:
   0  The signatures are renewed.
  65  The clock is wrong.
  69  A key or the folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("--days", type=between(int, 1, 3650), metavar="N",
                        help="make the signatures of timestamp, snapshot and targets valid for N days from now")
    add_key_arguments(parser, root=True)


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: FleetError, KeyUnusable, StateUnusable."""
    with opened(args) as repository:
        renewed = repository.renew(keys_of(args, repository), args.days, root=bool(args.root_key))
        waiting = [role for role in repository.due if role not in renewed]
    print(f"renewed: {', '.join(renewed)}",
          *(f"not renewed, since its key is not here: {role}" for role in waiting),
          *expiry_lines(repository, datetime.now(UTC)), f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
