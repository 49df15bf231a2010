"""`vedette fleet release`: a bundle to a share of the devices, or a release changed.

Invariants: what is not stated of a release that exists stays as it is; nothing reaches a device before `publish`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import add_fleet_argument, add_key_arguments, keys_of, opened, words_of
from vedette.fleet.ranges import notes
from vedette.store.release import BUCKETS, ShadowRequirement, TrialRequirement

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from vedette.fleet.settings import Bundle, Settings
    from vedette.store.release import Release

EXAMPLE = """examples:
  vedette fleet release fleet street:4 --buckets 0-3999 --shadow frames=100,minutes=5 --trial minutes=30
  vedette fleet release fleet --release 7 --buckets 0-9999       the same release, to everybody
  vedette fleet release fleet street:5 --buckets 0-4999 --variant b

A new release goes to channel stable, class default and every bucket, without shadow, unless stated.
--shadow: frames, minutes, deadline_minutes, on_deadline (accept or refuse), min_agreement, max_score_shift,
  max_latency_ratio, publish (true or false). --trial: frames, minutes, max_error_share, max_latency_ratio.
exit codes: 0; 64 when called wrongly; 65 for a bundle or release that is not there, an expired root or a wrong clock;
69 when a key or the folder cannot be used"""

_UNPROVEN = "warning: unproven: no golden frames show whether a device runs it rightly"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE",
                        help="one that was added: NAME:VERSION, NAME (the newest), a digest, or its file")
    parser.add_argument("--release", type=between(int, 1, 2**53 - 1), metavar="N",
                        help="number: the release to change, or a new one (default: the next)")
    parser.add_argument("--channel", metavar="C")
    parser.add_argument("--class", dest="device_classes", type=lambda text: tuple(text.split(",")), metavar="X[,Y]")
    parser.add_argument("--buckets", type=_buckets, metavar="A-B", help=f"first and last, of 0-{BUCKETS - 1}")
    parser.add_argument("--variant", metavar="V", help="travels in every result; '' takes it away")
    shadow = parser.add_mutually_exclusive_group()
    shadow.add_argument("--shadow", type=_parts_of(ShadowRequirement), metavar="K=V,…",
                        help="compare unseen before the trial")
    shadow.add_argument("--no-shadow", dest="shadow", action="store_const", const=False)
    parser.add_argument("--trial", type=_parts_of(TrialRequirement), metavar="K=V,…", help="what makes it good")
    add_key_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Sign the release. Raises: UsageError, FleetError, KeyUnusable, ModelDamaged, StateUnusable."""
    changes = {key: value for key in ("channel", "device_classes", "buckets", "variant", "shadow", "trial")
               if (value := getattr(args, key)) is not None}
    changes |= {key: None for key in ("variant", "shadow") if changes.get(key) in ("", False)}
    with opened(args) as repository:
        bundle = _bundle(args.bundle, repository.settings) if args.bundle else None
        release = repository.release(keys_of(args, repository), bundle, args.release, changes)
        others = [target.release for target in repository.targets]
    remarks = [*notes(release, others), *([_UNPROVEN] if bundle and not bundle.proven else [])]
    if args.json:
        print(json.dumps({**release.model_dump(mode="json"), "notes": remarks}))
        return 0
    for remark in remarks:
        print(remark, file=sys.stderr if remark.startswith("warning") else sys.stdout)
    print(words_of(release), *_proof(release), f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0


def _proof(release: Release) -> list[str]:
    """Say what a device asks of it."""
    parts = {"shadow": release.shadow, "trial": release.trial}
    return [f"  {name:7} {', '.join(f'{key} {value}' for key, value in part.model_dump().items())}"
            for name, part in parts.items() if part is not None]


def _bundle(asked: str, settings: Settings) -> Bundle:
    path = Path(asked)
    return settings.bundle(hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else asked)


def _buckets(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first + last).isascii() or not first.isdigit() or not last.isdigit() \
            or not int(first) <= int(last) < BUCKETS:
        raise argparse.ArgumentTypeError(f"{text!r}; expected FIRST-LAST within 0-{BUCKETS - 1}, as 0-3999")
    return int(first), int(last)


def _parts_of(kind: type[BaseModel]) -> Callable[[str], dict[str, str]]:
    def parse(text: str) -> dict[str, str]:
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(key in kind.model_fields and value for key, _, value in pairs):
            raise argparse.ArgumentTypeError(f"{text!r}; expected KEY=VALUE,… of {', '.join(kind.model_fields)}")
        return {key: value for key, _, value in pairs}
    return parse
