"""`vedette fleet release`: signs a release of a bundle for a share of the devices, or changes a release.

Invariants: what the command line does not name stays as it is in an existing release; nothing reaches a device before
`publish`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
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
from vedette.fleet.ranges import notes
from vedette.store.release import ShadowRequirement, TrialRequirement

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from vedette.fleet.settings import Bundle, Settings
    from vedette.store.release import Release

EXAMPLE = """examples:
  vedette fleet release fleet street:4 --buckets 0-3999 --shadow frames=100,minutes=5 --trial minutes=30
  vedette fleet release fleet --release 7 --buckets 0-9999       # to every device
  vedette fleet release fleet street:5 --buckets 0-4999 --variant b
  vedette fleet release fleet street:6 --tags indoor,south --host broker.example

Each device has a bucket number from 0 to 9999, so --buckets 0-999 reaches a tenth of the devices.
By default a new release is for the channel stable, the class default and every bucket, and has no shadow comparison.
Each new release has a salt of its own, so its first devices are others each time. Variants share one salt (--salt).
With --host, the command says how many known devices match before it signs.
keys of --shadow: frames, minutes, deadline_minutes, on_deadline (accept or refuse), min_agreement, max_score_shift,
  max_latency_ratio, publish (true or false)
keys of --trial: frames, minutes, max_error_share, max_latency_ratio

exit codes:
   0  The release is signed.
  64  The command line is wrong.
  65  The bundle or the release does not exist, root has expired, or the clock is wrong.
  69  A key, the folder or the broker cannot be used.
  78  The configuration cannot be used."""

_UNPROVEN = "warning: unproven: the model has no golden frames, so no device can check its results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE",
                        help="a bundle that was added: NAME:VERSION, NAME (its newest version), a digest, or the file")
    parser.add_argument("--release", type=between(int, 1, 2**53 - 1), metavar="N",
                        help="number of the release to change, or of a new one (default: the next free number)")
    add_audience_arguments(parser)
    parser.add_argument("--variant", metavar="V", help="name of the variant; every result contains it; '' removes it")
    shadow = parser.add_mutually_exclusive_group()
    shadow.add_argument("--shadow", type=parts_of(ShadowRequirement), metavar="K=V,…",
                        help="before the trial, compare the model with the active one in the background")
    shadow.add_argument("--no-shadow", dest="shadow", action="store_const", const=False,
                        help="remove the shadow comparison")
    parser.add_argument("--trial", type=parts_of(TrialRequirement), metavar="K=V,…",
                        help="conditions that the model must meet in its trial")
    add_key_arguments(parser)
    add_known_devices_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: UsageError, FleetError, KeyUnusable, ModelDamaged, StateUnusable, BrokerError, ConfigError."""
    rows = known_devices(args)
    changes = {key: value for key in ("variant", "shadow", "trial") if (value := getattr(args, key)) is not None}
    changes |= {key: None for key in ("variant", "shadow") if changes.get(key) in ("", False)}
    with opened(args) as repository:
        is_new = all(target.release.release != args.release for target in repository.targets)
        changes |= audience_of(args, repository, is_new=is_new)
        bundle = bundle_named(args.bundle, repository.settings) if args.bundle else None
        known = Matching.of(rows, repository.planned(bundle, args.release, changes), repository.targets)
        if known is not None and not args.json:
            print(known, flush=True)
        release = repository.release(keys_of(args, repository), bundle, args.release, changes)
        others = [target.release for target in repository.targets]
    remarks = [*notes(release, others), *([_UNPROVEN] if bundle and not bundle.proven else [])]
    if args.json:
        print(json.dumps({**release.model_dump(mode="json"), "notes": remarks,
                          **({} if known is None else {"known": asdict(known)})}))
        return 0
    for remark in remarks:
        print(remark, file=sys.stderr if remark.startswith("warning") else sys.stdout)
    print(describe(release), *_conditions(release), f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0


def _conditions(release: Release) -> list[str]:
    """Return the conditions of the shadow comparison and of the trial, a line each."""
    parts = {"shadow": release.shadow, "trial": release.trial}
    return [f"  {name:7} {', '.join(f'{key} {value}' for key, value in part.model_dump().items())}"
            for name, part in parts.items() if part is not None]


def bundle_named(wanted: str, settings: Settings) -> Bundle:
    """Return a bundle that was added, by its name, digest or file. Raises: FleetError."""
    path = Path(wanted)
    return settings.bundle(hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else wanted)


def parts_of(kind: type[BaseModel]) -> Callable[[str], dict[str, str]]:
    """Return a parser of `KEY=VALUE,…` with the keys of a model, for `add_argument(type=...)`."""
    def parse(text: str) -> dict[str, str]:
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(key in kind.model_fields and value for key, _, value in pairs):
            keys = ", ".join(kind.model_fields)
            raise argparse.ArgumentTypeError(f"{text!r}; expected KEY=VALUE,… with keys from: {keys}")
        return {key: value for key, _, value in pairs}
    return parse
