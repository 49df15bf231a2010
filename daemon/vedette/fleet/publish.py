"""Copies the repository to the place from which devices read it: a folder, a mounted bucket, a USB stick.

Invariants: everything that a file names is there, durably, before the file itself; a file with a version or digest in
its name is never changed there, and nothing is removed, since a device may be reading it; an older repository never
replaces a newer one; a damaged model is not published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vedette._lib.durable import replace_file
from vedette.errors import FleetError, ModelDamaged, StateUnusable
from vedette.fleet.folder import READABLE

TIMESTAMP = "metadata/timestamp.json"


def publish(repository: Path, names: Sequence[str], destination: Path,
            copied: Callable[[str], None] | None = None) -> int:
    """Copy these files, in this order; returns how many were new. It calls `copied` after each.

    Raises: FleetError if another repository, or a newer state of this one, is there; ModelDamaged; StateUnusable.
    """
    try:
        new = list(_new(repository, names, destination))
        for name in new:
            path = destination / name
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, _checked(repository / name, name), READABLE)
            if copied is not None:
                copied(name)
    except OSError as error:
        raise StateUnusable(f"{error.filename or destination}: {error.strerror}") from error
    return len(new)


def _new(repository: Path, names: Sequence[str], destination: Path) -> Iterator[str]:
    """Yield the names of the files to copy. Raises: FleetError, OSError."""
    _check_not_newer(repository / TIMESTAMP, destination / TIMESTAMP)
    for name in names:
        here, there = repository / name, destination / name
        if not there.exists():
            yield name
        elif name.startswith("targets/"):
            if there.stat().st_size != here.stat().st_size:      # another tool cut it: its name is its digest
                yield name
        elif here.read_bytes() != there.read_bytes():
            if name != TIMESTAMP:
                raise FleetError(f"{there}: expected the file that this fleet signed under that name; another fleet, "
                                 "or another copy of this one, is published there")
            yield name


def _checked(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    if name.startswith("targets/") and not path.name.startswith(hashlib.sha256(content).hexdigest()):
        raise ModelDamaged(f"{path}: expected the digest in its name, found another; restore it from your backup")
    return content


def _check_not_newer(here: Path, there: Path) -> None:
    try:
        published = json.loads(there.read_bytes())["signed"]["version"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise FleetError(f"{there}: expected the timestamp of a repository; is this the right place?") from error
    ours = json.loads(here.read_bytes())["signed"]["version"]
    if published > ours:
        raise FleetError(f"{there}: version {published} is published, and this folder has version {ours}: it is an old "
                         "copy of the fleet")
