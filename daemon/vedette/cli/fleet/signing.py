"""What the commands that sign a release share: the arguments, the signature, and what is printed.

Invariants: what the command line does not name stays as it is in an existing release; the known devices are printed
before anything is signed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.fleet.arguments import (
    add_key_arguments,
    audience_of,
    describe,
    keys_of,
    opened,
)
from vedette.cli.fleet.known_devices import Matching, add_known_devices_arguments, known_devices
from vedette.fleet.ranges import notes

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vedette.fleet.repository import Repository
    from vedette.fleet.settings import Bundle, Settings
    from vedette.store.release import Release

_UNPROVEN = "warning: unproven: the model has no golden frames, so no device can check its results"


def add_number_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the number of the release."""
    parser.add_argument("--release", type=between(int, 1, 2**53 - 1), metavar="N",
                        help="number of the release to change, or of a new one (default: the next free number)")


def add_signing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the keys, the broker, and the form of what is printed."""
    add_key_arguments(parser)
    add_known_devices_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def sign(args: argparse.Namespace, changes: Mapping[str, object], bundle_of: Callable[[Repository], Bundle | None],
         conditions: Callable[[Release], Sequence[str]] | None = None) -> int:
    """Sign a release of the bundle, or change one, and print it. `conditions`: more lines about it.

    Raises: UsageError, FleetError, KeyUnusable, ModelDamaged, StateUnusable, BrokerError, ConfigError.
    """
    rows = known_devices(args)
    with opened(args) as repository:
        is_new = all(target.release.release != args.release for target in repository.targets)
        fields = {**changes, **audience_of(args, repository, is_new=is_new)}
        bundle = bundle_of(repository)
        known = Matching.of(rows, repository.planned(bundle, args.release, fields), repository.targets)
        if known is not None and not args.json:
            print(known, flush=True)
        release = repository.release(keys_of(args, repository), bundle, args.release, fields)
        others = [target.release for target in repository.targets]
    remarks = [*notes(release, others), *([_UNPROVEN] if bundle and not bundle.proven else [])]
    if args.json:
        print(json.dumps({**release.model_dump(mode="json"), "notes": remarks,
                          **({} if known is None else {"known": asdict(known)})}))
        return 0
    for remark in remarks:
        print(remark, file=sys.stderr if remark.startswith("warning") else sys.stdout)
    print(describe(release), *(conditions(release) if conditions else ()),
          f"next: vedette fleet publish {args.folder} DEST", sep="\n")
    return 0


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
