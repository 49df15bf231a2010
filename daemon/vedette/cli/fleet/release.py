"""`vedette fleet release`: signs a release of a bundle for a share of the devices, or changes a release.

Invariants: what the command line does not name stays as it is in an existing release; nothing reaches a device before
`publish`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.fleet.arguments import add_audience_arguments, add_fleet_argument
from vedette.cli.fleet.signing import add_number_argument, add_signing_arguments, bundle_named, parts_of, sign
from vedette.store.release import ShadowRequirement, TrialRequirement

if TYPE_CHECKING:
    import argparse

    from vedette.fleet.repository import Repository
    from vedette.fleet.settings import Bundle
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE",
                        help="a bundle that was added: NAME:VERSION, NAME (its newest version), a digest, or the file")
    add_number_argument(parser)
    add_audience_arguments(parser)
    parser.add_argument("--variant", metavar="V", help="name of the variant; every result contains it; '' removes it")
    shadow = parser.add_mutually_exclusive_group()
    shadow.add_argument("--shadow", type=parts_of(ShadowRequirement), metavar="K=V,…",
                        help="before the trial, compare the model with the active one in the background")
    shadow.add_argument("--no-shadow", dest="shadow", action="store_const", const=False,
                        help="remove the shadow comparison")
    parser.add_argument("--trial", type=parts_of(TrialRequirement), metavar="K=V,…",
                        help="conditions that the model must meet in its trial")
    add_signing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Sign. Raises: UsageError, FleetError, KeyUnusable, ModelDamaged, StateUnusable, BrokerError, ConfigError."""
    changes = {key: value for key in ("variant", "shadow", "trial") if (value := getattr(args, key)) is not None}
    changes |= {key: None for key in ("variant", "shadow") if changes.get(key) in ("", False)}

    def bundle(repository: Repository) -> Bundle | None:
        return bundle_named(args.bundle, repository.settings) if args.bundle else None
    return sign(args, changes, bundle, _conditions)


def _conditions(release: Release) -> list[str]:
    """Return the conditions of the shadow comparison and of the trial, a line each."""
    parts = {"shadow": release.shadow, "trial": release.trial}
    return [f"  {name:7} {', '.join(f'{key} {value}' for key, value in part.model_dump().items())}"
            for name, part in parts.items() if part is not None]
