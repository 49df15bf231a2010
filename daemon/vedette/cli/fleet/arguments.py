"""What the commands of `vedette fleet` share: the arguments of the folder and the keys, releases and expiries as text.

Invariants: a passphrase comes from a file, never from the command line, where every user of the machine can read it.
"""

from __future__ import annotations

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

if TYPE_CHECKING:
    import argparse

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
    """Return a release as one line: the model, the devices, their share, and the variant."""
    first, last = release.buckets
    variant = f", variant {release.variant}" if release.variant else ""
    return (f"release {release.release}: {release.name} {release.version} to {', '.join(release.device_classes)} on "
            f"{release.channel}, buckets {first}-{last} ({share(release):.0%}){variant}")


def expiry_lines(repository: Repository, now: datetime) -> Sequence[str]:
    """Return a line for each role with its expiry, the soonest first."""
    return [f"  {expiry.role:9} {expiry.version:>4}  {expiry.expires:%Y-%m-%d %H:%M} UTC, "
            + (f"in {(expiry.expires - now).days} days" if expiry.expires > now else "EXPIRED")
            for expiry in repository.expiries]
