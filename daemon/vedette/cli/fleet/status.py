"""`vedette fleet status`: shows what is released to which devices, how it is doing there, and when signatures expire.

Invariants: no key is needed; exit code 1 means that a signature expires soon, so cron or a monitor can report it; with
a broker, each release has its counts, and each expected device is in exactly one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.broker import printable
from vedette.cli.fleet.arguments import add_fleet_argument, describe, expiry_lines, opened
from vedette.cli.fleet.known_devices import (
    add_known_devices_arguments,
    add_silence_argument,
    known_devices,
    unknown_receivers,
    unsaid,
)
from vedette.fleet.outcomes import Tally, expected_of, tally
from vedette.fleet.ranges import share

if TYPE_CHECKING:
    import argparse

    from vedette.fleet.repository import Repository
    from vedette.fleet.roster import Row
    from vedette.store.release import Target

EXAMPLE = """examples:
  vedette fleet status fleet
  vedette fleet status fleet --within 5 || mail -s "the fleet's signatures expire" operator
  vedette fleet status fleet --host broker.example --json | jq '.releases[0].devices.failed'

exit codes:
   0  Every signature is valid for longer than --within.
   1  A signature has expired or expires within that time.
  65  The folder is damaged.
  69  The folder or the broker cannot be used.
  78  The configuration cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("--within", type=between(int, 0, 3650), default=7, metavar="DAYS",
                        help="exit with code 1 if a signature expires in fewer days (7)")
    add_known_devices_arguments(parser)
    add_silence_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the status; returns 0 or 1. Raises: FleetError, StateUnusable, BrokerError, ConfigError."""
    rows = known_devices(args)
    now = datetime.now(UTC)
    with opened(args) as repository:
        soon = [expiry for expiry in repository.expiries if expiry.expires < now + timedelta(days=args.within)]
        releases = [(target, None if rows is None else tally(
            expected_of(rows, target, repository.targets), target, now=now,
            silent_after=timedelta(minutes=args.silent_after))) for target in repository.targets]
        if args.json:
            known = {} if rows is None else {
                "known": {"devices": len(rows), "without_receiver": unknown_receivers(rows)}}
            print(json.dumps({**_plain(repository, releases), **known, "expiring": [expiry.role for expiry in soon]}))
        else:
            print(*_lines(repository, releases, rows, now), sep="\n")
    return 1 if soon else 0


def _lines(repository: Repository, releases: Sequence[tuple[Target, Tally | None]], rows: Sequence[Row] | None,
           now: datetime) -> Iterator[str]:
    for target, counted in releases:
        yield describe(target.release)
        if counted is not None:
            yield printable(f"  {_counts(counted)}")
    if not releases:
        yield "nothing is released"
    if rows is not None:
        yield f"known devices: {len(rows)}{unsaid(unknown_receivers(rows))}"
    released = {target.sha256 for target, _ in releases}
    for bundle in repository.settings.bundles:
        if bundle.sha256 not in released:
            yield f"not released: {bundle.name}:{bundle.version} {bundle.sha256[:12]}…"
    yield "valid until:"
    yield from expiry_lines(repository, now)


def _counts(counted: Tally) -> str:
    codes = ", ".join(f"{code}: {count}" for code, count in counted.failed.items())
    return (f"{counted.expected} expected: {counted.good} good, {counted.trial} on trial, "
            f"{sum(counted.failed.values())} failed{f' ({codes})' if codes else ''}, {counted.silent} silent, "
            f"{counted.waiting} waiting")


def _plain(repository: Repository, releases: Sequence[tuple[Target, Tally | None]]) -> dict[str, object]:
    return {
        "releases": [{**target.release.model_dump(mode="json"), "share": share(target.release), "path": target.path,
                      "sha256": target.sha256, "size": target.length,
                      **({} if counted is None else {"devices": asdict(counted)})} for target, counted in releases],
        "bundles": [bundle.model_dump(mode="json") for bundle in repository.settings.bundles],
        "expiries": [{"role": expiry.role, "version": expiry.version, "expires": expiry.expires.isoformat()}
                     for expiry in repository.expiries]}
