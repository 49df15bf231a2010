"""What the commands of `vedette fleet` share: arguments of the folder, keys and devices; releases and expiries as text.

Invariants: a passphrase comes from a file, never from the command line, where every user of the machine can read it.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.errors import KeyUnusable
from vedette.fleet.folder import FleetFolder
from vedette.fleet.keys import KeyFolder
from vedette.fleet.ranges import share
from vedette.fleet.repository import Repository
from vedette.store.release import BUCKETS

if TYPE_CHECKING:
    from vedette.store.release import Release


def add_fleet_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the fleet's folder."""
    parser.add_argument("folder", type=file_path, metavar="DIR", help="the fleet's folder")


def add_key_arguments(parser: argparse.ArgumentParser, *, root: bool = False) -> None:
    """Declare where the keys are. `root`: the command may need a root key."""
    parser.add_argument("--keys", type=file_path, metavar="D",
                        help="folder of the private keys (default: the folder given to `init`)")
    parser.add_argument("--passphrase-file", type=file_path, metavar="F",
                        help="file whose first line is the passphrase of the keys")
    if root:
        parser.add_argument("--root-key", type=file_path, metavar="F", action="append", default=[],
                            help="file of a root key that is kept elsewhere; repeat it for more keys")


def add_audience_arguments(parser: argparse.ArgumentParser, *, buckets: bool = True) -> None:
    """Declare which devices get a release. `buckets`: a range may be given too."""
    parser.add_argument("--channel", metavar="C", help="channel whose devices get the release")
    parser.add_argument("--class", dest="device_classes", type=_names, metavar="X[,Y]",
                        help="device classes that get the release")
    parser.add_argument("--tags", type=_names, metavar="A[,B]",
                        help="only devices that have each of these tags; '' removes them")
    parser.add_argument("--salt", metavar="S",
                        help="chooses the devices of a range: `common` (the fleet's salt), `fresh` (random), or a "
                             "text. A new release has a fresh one, with --variant the common one")
    if buckets:
        parser.add_argument("--buckets", type=_buckets, metavar="A-B",
                            help=f"first and last bucket, within 0-{BUCKETS - 1}")


def audience_of(args: argparse.Namespace, repository: Repository, *, is_new: bool) -> dict[str, object]:
    """Return the fields of Release that say which devices get it: those that the command line gives.

    `is_new`: a release without --salt gets one of its own, so that its first devices are other ones each time. Two
    variants are compared on devices that one salt divides.
    """
    fields = {key: value for key in ("channel", "device_classes", "tags", "buckets")
              if (value := getattr(args, key, None)) is not None}
    salt = args.salt
    if salt is None and is_new:
        salt = "common" if getattr(args, "variant", None) else "fresh"
    if salt is None:
        return fields
    named = {"common": repository.settings.salt, "fresh": secrets.token_hex(8)}
    return {**fields, "salt": named.get(salt, salt)}


_LINE_BYTES_MAX = 64 * 1024


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Repository]:
    """Hold the fleet's folder. Raises: FleetError, FleetBusy, StateUnusable."""
    with FleetFolder(args.folder) as folder:
        yield Repository(folder, datetime.now(UTC))


def keys_of(args: argparse.Namespace, repository: Repository) -> KeyFolder:
    """Return the keys. Raises: KeyUnusable when the passphrase cannot be read."""
    folder = args.keys or args.folder / repository.settings.keys
    return KeyFolder(folder, passphrase_of(args), getattr(args, "root_key", ()))


def passphrase_of(args: argparse.Namespace) -> bytes | None:
    """Return the passphrase, None without one. Raises: KeyUnusable when it cannot be read or is empty."""
    path: Path | None = args.passphrase_file
    if path is None:
        return None
    try:
        with path.open("rb") as file:       # a pipe of the shell is fine, and a device without end costs nothing
            passphrase = file.readline(_LINE_BYTES_MAX).rstrip(b"\r\n")
    except OSError as error:
        raise KeyUnusable(f"{path}: the passphrase cannot be read: {error.strerror}") from error
    if len(passphrase) == _LINE_BYTES_MAX:
        raise KeyUnusable(f"{path}: its first line must be the passphrase, but it is too long")
    if not passphrase:
        raise KeyUnusable(f"{path}: its first line must be the passphrase, but it is empty")
    return passphrase


def describe(release: Release) -> str:
    """Return a release as one line: the file, the devices, their share, and the variant."""
    first, last = release.buckets
    variant = f", variant {release.variant}" if release.variant else ""
    tags = f", tags {', '.join(release.tags)}" if release.tags else ""
    kind = "configuration " if release.kind == "configuration" else ""
    return (f"release {release.release}: {kind}{release.name} {release.version} to "
            f"{', '.join(release.device_classes)} on {release.channel}{tags}, "
            f"buckets {first}-{last} ({100 * share(release):.3g}%){variant}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _buckets(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first + last).isascii() or not first.isdigit() or not last.isdigit() \
            or not int(first) <= int(last) < BUCKETS:
        raise argparse.ArgumentTypeError(f"{text!r}; expected FIRST-LAST within 0-{BUCKETS - 1}, such as 0-3999")
    return int(first), int(last)


def expiry_lines(repository: Repository, now: datetime) -> Sequence[str]:
    """Return a line for each role with its expiry, the soonest first."""
    return [f"  {expiry.role:9} {expiry.version:>4}  {expiry.expires:%Y-%m-%d %H:%M} UTC, "
            + (f"in {(expiry.expires - now).days} days" if expiry.expires > now else "EXPIRED")
            for expiry in repository.expiries]
