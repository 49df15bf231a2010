"""`vedette fleet status`: shows what is released to which devices, and when signatures expire.

Invariants: no key is needed; exit code 1 means that a signature expires soon, so cron or a monitor can report it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, describe, expiry_lines, opened
from vedette.fleet.ranges import share

if TYPE_CHECKING:
    import argparse

    from vedette.fleet.repository import Repository

EXAMPLE = """examples:
  vedette fleet status fleet
  vedette fleet status fleet --within 5 || mail -s "the fleet's signatures expire" operator

exit codes:
   0  Every signature is valid for longer than --within.
   1  A signature has expired or expires within that time.
  65  The folder is damaged.
  69  The folder cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("--within", type=between(int, 0, 3650), default=7, metavar="DAYS",
                        help="exit with code 1 if a signature expires in fewer days (7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the status; returns 0 or 1. Raises: FleetError, StateUnusable."""
    now = datetime.now(UTC)
    with opened(args) as repository:
        soon = [expiry for expiry in repository.expiries if expiry.expires < now + timedelta(days=args.within)]
        if args.json:
            print(json.dumps({**_plain(repository), "expiring": [expiry.role for expiry in soon]}))
        else:
            print(*_lines(repository, now), sep="\n")
    return 1 if soon else 0


def _lines(repository: Repository, now: datetime) -> list[str]:
    released = {target.sha256 for target in repository.targets}
    waiting = [bundle for bundle in repository.settings.bundles if bundle.sha256 not in released]
    return [*(describe(target.release) for target in repository.targets),
            *([] if released else ["nothing is released"]),
            *(f"not released: {bundle.name}:{bundle.version} {bundle.sha256[:12]}…" for bundle in waiting),
            "valid until:", *expiry_lines(repository, now)]


def _plain(repository: Repository) -> dict[str, object]:
    return {
        "releases": [{**target.release.model_dump(mode="json"), "share": share(target.release), "path": target.path,
                      "sha256": target.sha256, "size": target.length} for target in repository.targets],
        "bundles": [bundle.model_dump(mode="json") for bundle in repository.settings.bundles],
        "expiries": [{"role": expiry.role, "version": expiry.version, "expires": expiry.expires.isoformat()}
                     for expiry in repository.expiries]}
