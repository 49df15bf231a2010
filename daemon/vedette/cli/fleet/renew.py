"""`vedette fleet renew`: signs anew what would expire.

Invariants: nothing that is released changes; what is less than half through its term is left alone, so that devices
do not fetch it again, but for the timestamp, which is renewed always.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, expiry_lines, keys_of, opened

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet renew fleet && vedette fleet publish fleet /srv/www/models        once a week, by cron
  vedette fleet renew fleet --days 120                                            before a quiet quarter
  vedette fleet renew fleet --root-key /media/stick/root-4a0c11de.pem             root too

exit codes: 0; 65 when the clock is wrong; 69 when a key or the folder cannot be used"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("--days", type=between(int, 1, 3650), metavar="N",
                        help="timestamp, snapshot and targets, all, for so long from now")
    add_key_arguments(parser, root=True)


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: FleetError, KeyUnusable, StateUnusable."""
    with opened(args) as repository:
        renewed = repository.renew(keys_of(args, repository), args.days, root=bool(args.root_key))
    print(f"renewed: {', '.join(renewed)}", *expiry_lines(repository, datetime.now(UTC)),
          f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
