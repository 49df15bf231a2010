"""`vedette fleet configure`: signs a file with keys of the configuration for many devices.

Invariants: the file is checked as a whole before anything is signed; a file or a secret of one device is refused by
name; nothing reaches a device before `publish`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import between, file_path
from vedette.cli.fleet.arguments import (
    add_audience_arguments,
    add_fleet_argument,
    add_key_arguments,
    audience_of,
    describe,
    keys_of,
    opened,
)
from vedette.cli.fleet.known_devices import Matching, add_known_devices_arguments, known_devices
from vedette.cli.fleet.release import parts_of
from vedette.fleet.configuration import configuration_of
from vedette.fleet.ranges import notes
from vedette.store.release import TrialRequirement

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet configure fleet night.yaml --host broker.example
  vedette fleet configure fleet night.yaml --buckets 0-99 --trial minutes=30
  vedette fleet configure fleet --release 8 --buckets 0-9999       # to every device

FILE has some keys, as they stand in a configuration: thresholds, labels, zones, lines, events, the publish rate, the
governor, intervals of health, camera.roi. `vedette fleet release` explains the devices, buckets and salts.
To release it step by step: vedette fleet add fleet night.yaml, then vedette fleet roll fleet night DEST --host BROKER

exit codes:
   0  The configuration is signed.
  64  The command line is wrong.
  65  The release does not exist or is of another file, root has expired, or the clock is wrong.
  69  A key, the folder or the broker cannot be used.
  78  The file has a key that cannot be signed, or a wrong value. Nothing is signed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("file", nargs="?", type=file_path, metavar="FILE", help="YAML or JSON file with the keys")
    parser.add_argument("--release", type=between(int, 1, 2**53 - 1), metavar="N",
                        help="number of the release to change, or of a new one (default: the next free number)")
    parser.add_argument("--name", help="name of the configuration (default: the name of the file)")
    parser.add_argument("--version", help="its version (default: the next number of that name)")
    add_audience_arguments(parser)
    parser.add_argument("--trial", type=parts_of(TrialRequirement), metavar="K=V,…",
                        help="conditions that the configuration must meet in its trial")
    add_key_arguments(parser)
    add_known_devices_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: ConfigError with every problem, UsageError, FleetError, KeyUnusable, StateUnusable, BrokerError."""
    rows = known_devices(args)
    changes: dict[str, object] = {} if args.trial is None else {"trial": args.trial}
    with opened(args) as repository:
        is_new = all(target.release.release != args.release for target in repository.targets)
        changes |= audience_of(args, repository, is_new=is_new)
        bundle = None
        if args.file is not None:
            content, bundle = configuration_of(args.file, repository.settings, datetime.now(UTC), name=args.name,
                                               version=args.version)
            repository.add(content, bundle)
        known = Matching.of(rows, repository.planned(bundle, args.release, changes), repository.targets)
        if known is not None and not args.json:
            print(known, flush=True)
        release = repository.release(keys_of(args, repository), bundle, args.release, changes)
        others = [target.release for target in repository.targets]
    remarks = list(notes(release, others))
    if args.json:
        print(json.dumps({**release.model_dump(mode="json"), "notes": remarks,
                          **({} if known is None else {"known": asdict(known)})}))
        return 0
    for remark in remarks:
        print(remark, file=sys.stderr if remark.startswith("warning") else sys.stdout)
    print(describe(release), f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0
