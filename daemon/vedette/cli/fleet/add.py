"""`vedette fleet add`: verifies a bundle or a configuration in the same way as a device, and stores it for a release.

Invariants: a bundle with a wrong digest, quantization or golden frame is refused; a model without golden frames is
stored only with `--allow-unproven`, and stays marked as unproven. A configuration is checked as a whole.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.cli.fleet.arguments import add_fleet_argument, opened
from vedette.errors import ModelDamaged, ModelUnsupported, UsageError
from vedette.fleet.configuration import SUFFIXES, configuration_of
from vedette.fleet.settings import Bundle

if TYPE_CHECKING:
    import argparse

    from vedette.validate.verify import Verification

EXAMPLE = """examples:
  vedette fleet add fleet street-4.tflite
  vedette fleet add fleet plain.tflite --allow-unproven --name yard --version 1
  vedette fleet add fleet night.yaml        # keys of the configuration, as for `vedette fleet configure`

exit codes:
   0  The bundle is stored.
  64  The command line is wrong, or the version is missing.
  65  The bundle is refused.
  69  The folder cannot be used, or no TFLite runtime is installed.
  78  The configuration has a key that cannot be signed, or a wrong value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", type=file_path, metavar="BUNDLE",
                        help="file made with `vedette model pack`, or a YAML or JSON file with keys")
    parser.add_argument("--allow-unproven", action="store_true",
                        help="accept a model without golden frames: no device can then check its results")
    parser.add_argument("--name", help="name of the model (default: the name in the bundle)")
    parser.add_argument("--version", help="version of the model (default: the version in the bundle)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Verify and store. Raises: ModelError, ConfigError, UsageError, FleetError, RuntimeMissing, StateUnusable."""
    found = None if args.bundle.suffix in SUFFIXES else _model(args)
    with opened(args) as repository:
        content, bundle = found or configuration_of(args.bundle, repository.settings, datetime.now(UTC),
                                                    name=args.name, version=args.version)
        repository.add(content, bundle)
    if args.json:
        print(json.dumps(bundle.model_dump(mode="json")))
    else:
        print(f"added {bundle.name}:{bundle.version}  {bundle.sha256}  {bundle.size:,} bytes, "
              f"{'verified' if bundle.proven else 'unproven'}",
              f"next: vedette fleet release {args.folder} {bundle.name}:{bundle.version} --buckets 0-499", sep="\n")
    return 0


def _model(args: argparse.Namespace) -> tuple[bytes, Bundle]:
    from vedette.tflite.file import read_bytes
    from vedette.validate.verify import verify
    bundle = _bundle(verify(args.bundle), args)
    return read_bytes(args.bundle), bundle


def _bundle(verification: Verification, args: argparse.Namespace) -> Bundle:
    for check in verification.checks:
        if check.state == "failed":
            raise ModelDamaged(f"{args.bundle}: {check.name}: {check.message}")
    if not verification.passed and not args.allow_unproven:
        why = "; ".join(f"{check.name}: {check.message}" for check in verification.checks if check.state == "unchecked")
        raise ModelUnsupported(f"{args.bundle}: {why}; use --allow-unproven to accept it all the same")
    assert verification.spec is not None  # noqa: S101 - for the type checker: both exist when no check failed
    assert verification.model is not None  # noqa: S101 - as above
    name, version = args.name or verification.spec.name, args.version or verification.spec.version
    if not version:
        raise UsageError(f"{args.bundle}: has no version; give one with --version")
    return Bundle(sha256=verification.model.sha256, size=verification.model.size, name=name, version=version,
                  proven=verification.passed, added_at=datetime.now(UTC))
