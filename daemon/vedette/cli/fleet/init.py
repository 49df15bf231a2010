"""`vedette fleet init`: creates the signing keys and the empty repository of a fleet.

Invariants: the command never overwrites a fleet; the root key is needed only to renew root and to replace keys, and
the command says where to keep it.
"""

from __future__ import annotations

import argparse
import secrets
from datetime import UTC, datetime
from pathlib import Path

from vedette.cli.arguments import between, file_path
from vedette.cli.fleet.arguments import add_fleet_argument, expiry_lines, passphrase_of
from vedette.errors import UsageError
from vedette.fleet.folder import FleetFolder
from vedette.fleet.keys import KeyFolder
from vedette.fleet.metadata import NEWEST_ROOT, ROLES
from vedette.fleet.repository import Repository
from vedette.fleet.settings import Settings, Terms

EXAMPLE = """examples:
  vedette fleet init fleet
  vedette fleet init fleet --keys /media/stick/keys --root-keys 3 --root-threshold 2 --days root=730

exit codes:
   0  The fleet is created.
  64  The command line is wrong.
  65  The folder already has a fleet, or the clock is wrong.
  69  The folder or the keys cannot be written, or the package cryptography is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("--keys", type=file_path, metavar="D", help="folder for the private keys (default: DIR/keys)")
    parser.add_argument("--passphrase-file", type=file_path, metavar="F",
                        help="file whose first line is the passphrase for the keys")
    parser.add_argument("--root-keys", type=between(int, 1, 20), default=1, metavar="N",
                        help="number of root keys to create (1)")
    parser.add_argument("--root-threshold", type=between(int, 1, 20), default=1, metavar="N",
                        help="number of root keys that must sign (1)")
    parser.add_argument("--days", type=_term, action="append", default=[], metavar="ROLE=N",
                        help=f"days for which a role's signature is valid ({_defaults()}); repeat it for more roles")


def run(args: argparse.Namespace) -> int:
    """Create the fleet. Raises: UsageError, FleetError, KeyUnusable, ExtraMissing, StateUnusable."""
    if args.root_threshold > args.root_keys:
        raise UsageError(f"--root-threshold: {args.root_threshold} of {args.root_keys} root keys can never sign; "
                         "expected at most the number of --root-keys")
    place = str(args.keys.absolute()) if args.keys else "keys"
    keys = KeyFolder(args.folder / place, passphrase_of(args))
    now = datetime.now(UTC)
    settings = Settings(salt=secrets.token_hex(8), keys=place, terms=Terms(**dict(args.days)), changed_at=now)
    with FleetFolder(args.folder, new=True) as folder:
        repository = Repository.create(folder, keys, settings, root_keys=args.root_keys,
                                       root_threshold=args.root_threshold)
    _print_summary(args.folder, keys.path, repository, now)
    return 0


def _print_summary(folder: Path, keys: Path, repository: Repository, now: datetime) -> None:
    print(f"{folder}: a fleet without releases. Its signatures are valid until:", *expiry_lines(repository, now),
          sep="\n")
    print(f"keys: {keys}. Back them up. Move {keys}/root-*.pem off this machine.",
          "  A root key is needed only to renew root and to replace keys. Whoever has the root keys owns the fleet.",
          f"devices: copy {folder / NEWEST_ROOT} to each device and set update.root to it.",
          f"next: vedette fleet add {folder} BUNDLE", sep="\n")


def _term(text: str) -> tuple[str, int]:
    role, _, days = text.partition("=")
    if role not in ROLES or not days.isascii() or not days.isdigit() or not 1 <= int(days) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r}; expected {'|'.join(ROLES)}=DAYS, 1 to 3650")
    return role, int(days)


def _defaults() -> str:
    return ", ".join(f"{role} {days}" for role, days in Terms().model_dump().items())
