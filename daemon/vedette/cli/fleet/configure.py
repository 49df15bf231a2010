"""`vedette fleet configure`: signs a file with keys of the configuration for many devices.

Invariants: the file is checked as a whole before anything is signed; a file or a secret of one device is refused by
name; nothing reaches a device before `publish`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.cli.fleet.arguments import add_audience_arguments, add_fleet_argument
from vedette.cli.fleet.signing import add_number_argument, add_signing_arguments, parts_of, sign
from vedette.fleet.configuration import configuration_of
from vedette.store.release import TrialRequirement

if TYPE_CHECKING:
    import argparse

    from vedette.fleet.repository import Repository
    from vedette.fleet.settings import Bundle

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
    add_number_argument(parser)
    parser.add_argument("--name", help="name of the configuration (default: the name of the file)")
    parser.add_argument("--version", help="its version (default: the next number of that name)")
    add_audience_arguments(parser)
    parser.add_argument("--trial", type=parts_of(TrialRequirement), metavar="K=V,…",
                        help="conditions that the configuration must meet in its trial")
    add_signing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: ConfigError with every problem, UsageError, FleetError, KeyUnusable, StateUnusable, BrokerError."""
    def bundle(repository: Repository) -> Bundle | None:
        if args.file is None:
            return None
        content, found = configuration_of(args.file, repository.settings, datetime.now(UTC), name=args.name,
                                          version=args.version)
        repository.add(content, found)
        return found
    return sign(args, {} if args.trial is None else {"trial": args.trial}, bundle)
