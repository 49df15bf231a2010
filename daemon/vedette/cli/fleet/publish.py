"""`vedette fleet publish`: copies the repository to the place where devices read it.

Invariants: those of `vedette.fleet.publish`; no file is published that a device would refuse as expired.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.cli.fleet.arguments import add_fleet_argument, opened
from vedette.fleet.publish import publish

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet publish fleet /srv/www/models
  vedette fleet publish fleet /media/stick/models

DEST is a folder: of a web server, of mounted object storage, of a USB stick.
If you must copy it further with rsync, keep the order in the project's guide docs/fleet.md.

exit codes:
   0  The repository is published.
  65  A signature has expired, or DEST has another fleet or a newer state of this one.
  69  A folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("destination", type=file_path, metavar="DEST",
                        help="folder that devices read; it is created if needed")


def run(args: argparse.Namespace) -> int:
    """Copy. Raises: FleetError, ModelDamaged, StateUnusable."""
    with opened(args) as repository:
        count = publish(args.folder / "repository", repository.files(), args.destination, _show_progress)
    soonest = repository.expiries[0]
    print(f"{args.destination}: {count} files copied; {soonest.role} expires on {soonest.expires:%Y-%m-%d}")
    return 0


def _show_progress(name: str) -> None:
    """Print the name of a copied file, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"  {name}", file=sys.stderr)
