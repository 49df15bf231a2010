"""`vedette fleet add`: a bundle is verified as a device would, and kept for a release.

Invariants: nothing is kept whose digest, quantization or golden frames are wrong; a model that says nothing of what it
should see is kept only when asked to, and stays marked as unproven.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.fleet.arguments import add_fleet_argument, opened
from vedette.errors import ModelDamaged, ModelUnsupported, UsageError
from vedette.fleet.settings import Bundle

if TYPE_CHECKING:
    import argparse

    from vedette.validate.verify import Verification

EXAMPLE = """examples:
  vedette fleet add fleet street-4.tflite
  vedette fleet add fleet plain.tflite --allow-unproven --name yard --version 1

exit codes: 0; 64 when a version is not stated; 65 when the bundle is refused; 69 when the folder cannot be used, or
without a runtime"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="made with `vedette model pack`")
    parser.add_argument("--allow-unproven", action="store_true",
                        help="take a model without golden frames: nothing then shows that a device runs it rightly")
    parser.add_argument("--name", help="default: as the bundle says")
    parser.add_argument("--version", help="default: as the bundle says")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Verify and keep. Raises: ModelError, UsageError, FleetError, RuntimeMissing, StateUnusable."""
    from vedette.tflite.file import read_bytes
    from vedette.validate.verify import verify
    bundle = _bundle(verify(args.bundle), args)
    content = read_bytes(args.bundle)
    with opened(args) as repository:
        repository.add(content, bundle)
    if args.json:
        print(json.dumps(bundle.model_dump(mode="json")))
    else:
        print(f"added {bundle.name}:{bundle.version}  {bundle.sha256}  {bundle.size:,} bytes, "
              f"{'verified' if bundle.proven else 'unproven'}",
              f"next: vedette fleet release {args.folder} {bundle.name}:{bundle.version} --buckets 0-499", sep="\n")
    return 0


def _bundle(found: Verification, args: argparse.Namespace) -> Bundle:
    for check in found.checks:
        if check.state == "failed":
            raise ModelDamaged(f"{args.bundle}: {check.name}: {check.words}")
    if not found.passed and not args.allow_unproven:
        why = "; ".join(f"{check.name}: {check.words}" for check in found.checks if check.state == "unchecked")
        raise ModelUnsupported(f"{args.bundle}: {why}; --allow-unproven takes it all the same")
    assert found.spec is not None  # noqa: S101 - for the type checker: both are there when no check failed
    assert found.model is not None  # noqa: S101 - as above
    name, version = args.name or found.spec.name, args.version or found.spec.version
    if not version:
        raise UsageError(f"{args.bundle}: states no version; give one with --version")
    return Bundle(sha256=found.model.sha256, size=found.model.size, name=name, version=version, proven=found.passed,
                  added_at=datetime.now(UTC))
