"""`vedette fleet publish`: copies the repository to where devices read it.

Invariants: those of `vedette.fleet.publish`; nothing is published that a device would refuse as expired.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.fleet.arguments import add_fleet_argument, opened
from vedette.fleet.publish import publish

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet publish fleet /srv/www/models
  vedette fleet publish fleet /media/stick/models

DEST is a folder: a web server's, a mounted bucket, a stick. For a host reached by rsync see docs/fleet.md.
exit codes: 0; 65 when something has expired, or another fleet or a newer state is there; 69 when a folder cannot be
used"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("destination", type=Path, metavar="DEST", help="made when it is not there")


def run(args: argparse.Namespace) -> int:
    """Copy. Raises: FleetError, ModelDamaged, StateUnusable."""
    shown = sys.stderr.isatty()
    with opened(args) as repository:
        count = publish(args.folder / "repository", repository.files(), args.destination,
                        lambda name: print(f"  {name}", file=sys.stderr) if shown else None)
    soonest = repository.expiries[0]
    print(f"{args.destination}: {count} files copied; {soonest.role} expires on {soonest.expires:%Y-%m-%d}")
    return 0
