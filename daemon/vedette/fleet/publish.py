"""Copies the repository to where devices read it: a folder, a mounted bucket, a stick.

Invariants: everything a file names is there, durably, before the file is; what has a version or a digest in its name
is never changed there, and nothing is removed, since a device may be reading it; an older repository never replaces a
newer one; a damaged model is not published.
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
            copied: Callable[[str], None] = lambda _name: None) -> int:
    """Copy these files, in this order; returns how many were new. `copied` is told of each.

    Raises: FleetError when another repository, or a newer state of this one, is there; ModelDamaged; StateUnusable.
    """
    try:
        new = list(_new(repository, names, destination))
        for name in new:
            path = destination / name
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, _checked(repository / name, name), READABLE)
            copied(name)
    except OSError as error:
        raise StateUnusable(f"{error.filename or destination}: {error.strerror}") from error
    return len(new)


def _new(repository: Path, names: Sequence[str], destination: Path) -> Iterator[str]:
    """Yield what is to be copied. Raises: FleetError, OSError."""
    _check_not_newer(repository / TIMESTAMP, destination / TIMESTAMP)
    for name in names:
        here, there = repository / name, destination / name
        if not there.exists():
            yield name
        elif name.startswith("targets/"):
            if there.stat().st_size != here.stat().st_size:      # cut short by another tool: its name is its digest
                yield name
        elif here.read_bytes() != there.read_bytes():
            if name != TIMESTAMP:
                raise FleetError(f"{there}: not what this fleet signed under that name: another fleet, or another copy "
                                 "of this one, is published there")
            yield name


def _checked(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    if name.startswith("targets/") and not path.name.startswith(hashlib.sha256(content).hexdigest()):
        raise ModelDamaged(f"{path}: its digest is not the one in its name; bring it back from your backup")
    return content


def _check_not_newer(here: Path, there: Path) -> None:
    try:
        published = json.loads(there.read_bytes())["signed"]["version"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise FleetError(f"{there}: no timestamp of a repository; is this the right place?") from error
    ours = json.loads(here.read_bytes())["signed"]["version"]
    if published > ours:
        raise FleetError(f"{there}: version {published} is published, this is {ours}: an old copy of the fleet")
