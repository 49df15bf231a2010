"""The update source: a TUF repository, verified by python-tuf's client and by checks that this client lacks.

This module imports python-tuf, which takes memory: import it only where a source is configured.

Invariants:
- `metadata/` holds only sets that were accepted as a whole, and they are durable before anything uses them. Roots are
  saved as soon as they are verified, since each root is needed to verify the next.
- A version below its floor is refused whatever the local files say: a power cut can empty them, and python-tuf then
  accepts everything that was ever signed.
- A floor is valid as long as its keys: once a root has removed one of them, the floor no longer applies (the recovery
  from fast-forward). Root's floor belongs to the installed root: with another root, it does not apply.
- A folder is verified like the network. Nothing here refuses a digest for ever.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from pydantic import ValidationError
from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from vedette._lib.durable import Files, make_folder, replace_file
from vedette.errors import UpdateError, UpdateExpired, UpdateMissing, UpdateRefused
from vedette.net.http_client import IDLE_S
from vedette.net.timed_socket import Deadline
from vedette.store.incoming import write_error
from vedette.store.release import Release, Target
from vedette.store.state import RoleFloor
from vedette.update.download import Progress, download
from vedette.update.origin import FolderOrigin, Origin, origin_of

log = logging.getLogger(__name__)

ROLES: Final = ("root", "timestamp", "snapshot", "targets")
ROOTS: Final = "root_history"
"""As in python-tuf: `root_history/N.root.json`; the files of the other roles lie beside it, without a number."""
SAVED: Final = ("targets.json", "snapshot.json", "timestamp.json")
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_LIMITS: Final = UpdaterConfig()
_RULES: Final = ((exceptions.UnsignedMetadataError, "unsigned"), (exceptions.LengthOrHashMismatchError, "mixed"),
                 (exceptions.RepositoryError, "invalid"))


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a refresh has verified. Save `floors`, and give them to the next refresh."""

    targets: tuple[Target, ...]
    floors: Mapping[str, RoleFloor]
    expires: Mapping[str, datetime]


class UpdateSource:
    """The repository at `source` (a URL or a folder); `root` (the bytes of a root.json) is where trust starts.

    `metadata` is a folder whose parent exists. One thread at a time. No call returns later than its deadline. Only a
    download can be ended before that, by its `progress`. A server may be silent for half of `deadline_s`.
    """

    def __init__(self, source: str, root: bytes, metadata: Path, *, deadline_s: float = 60.0,
                 ca_file: Path | None = None, token_file: Path | None = None, files: Files = os) -> None:
        self._origin = origin_of(source, ca_file=ca_file, token_file=token_file, idle_s=max(IDLE_S, deadline_s / 2))
        self._root = root
        self._metadata = metadata
        self._deadline_s = deadline_s
        self._files = files

    @property
    def any_bucket(self) -> bool:
        """Whether releases of all buckets are for this device: the source is a folder."""
        return not self._origin.has_buckets

    def refresh(self, floors: Mapping[str, RoleFloor], reference: datetime | None) -> Trusted:
        """Get the newest metadata and verify it. `reference`: the time to check expiry with; None: no check.

        Raises: UpdateUnreachable, UpdateRefused (the rule comes first: unsigned, expired, rollback, mixed, too long,
        invalid), StateUnusable.
        """
        fetcher = _Fetcher(self._origin, Deadline(self._deadline_s))
        with self._workplace() as work, _as_update(fetcher, reference):
            for folder in (self._metadata, self._metadata / ROOTS):
                make_folder(self._files, str(folder))
            for name in (*SAVED, *(f"{ROOTS}/{path.name}" for path in (self._metadata / ROOTS).glob("*.root.json"))):
                if (self._metadata / name).is_file():
                    shutil.copyfile(self._metadata / name, work / name)
            updater = _updater(self._root, work, fetcher, reference)
            anchor = tuple(updater._trusted_set.root.roles["root"].keyids)
            try:
                updater.refresh()
            finally:
                self._save(work, sorted(f"{ROOTS}/{path.name}" for path in (work / ROOTS).iterdir()))
            trusted = _trusted(updater, anchor)
            _check_floors(trusted.floors, floors)
            self._save(work, SAVED)
        return trusted

    def known(self, reference: datetime | None) -> tuple[Target, ...]:
        """Return the targets of the saved metadata, verified again, without asking the source.

        () if there is none, or if it is invalid. Raises: UpdateExpired, StateUnusable.
        """
        saved = _Fetcher(FolderOrigin(self._metadata), Deadline(self._deadline_s), path_of=_saved_path)
        try:
            with self._workplace() as work, _as_update(saved, reference):
                updater = _updater(self._root, work, saved, reference)
                updater.refresh()
                return _trusted(updater, ()).targets
        except UpdateMissing:
            return ()
        except UpdateExpired:
            raise
        except UpdateError as failure:
            log.info("the metadata in %s cannot be used: %s", self._metadata, failure)
            return ()

    def download(self, target: Target, into: Path, *, progress: Progress, deadline_s: float,
                 min_free_bytes: int = 0) -> None:
        """Download a target to `into`, complete, verified and durable; an earlier download that was cut off continues.

        `progress(bytes so far, of all)` may raise to end it. Raises: UpdateUnreachable (retry later), UpdateRefused
        (wrong digest, wrong length, too long: the source's fault, so retry later too), StoreFull, StateUnusable.
        """
        folder, slash, name = target.path.rpartition("/")
        download(self._origin, f"targets/{folder}{slash}{target.sha256}.{name}", into, sha256=target.sha256,
                 length=target.length, deadline=Deadline(deadline_s), progress=progress,
                 min_free_bytes=min_free_bytes)

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """Make a folder for python-tuf, which writes without fsync, and before it has verified the rest."""
        try:
            with TemporaryDirectory(prefix="vedette-") as work:
                (Path(work) / ROOTS).mkdir()
                yield Path(work)
        except OSError as error:
            raise write_error(Path(str(error.filename or self._metadata)), error) from error

    def _save(self, work: Path, names: tuple[str, ...] | list[str]) -> None:
        for name in names:
            content = (work / name).read_bytes()
            place = self._metadata / name
            if not place.is_file() or place.read_bytes() != content:
                replace_file(place, content, files=self._files)


class _Fetcher(FetcherInterface):
    """Gives python-tuf the files of an origin. `asked` is the latest path, for the message of a refusal."""

    def __init__(self, origin: Origin, deadline: Deadline, path_of: Callable[[str], str] = str) -> None:
        self._origin = origin
        self._deadline = deadline
        self._path_of = path_of
        self.asked = ""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a file. It overrides python-tuf's, which keeps the connection open when a body is too long."""
        self.asked = url
        try:
            with self._origin.open(self._path_of(url), most_bytes=max_length, deadline=self._deadline) as opened:
                return b"".join(opened.chunks)
        except UpdateMissing as failure:      # for python-tuf, this is the end of the roots
            raise exceptions.DownloadHTTPError(str(failure), 404) from failure

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, _LIMITS.targets_max_length)


def _updater(root: bytes, work: Path, fetcher: _Fetcher, reference: datetime | None) -> Updater:
    if not root:      # python-tuf 6 would use the root in its folder instead
        raise UpdateRefused("invalid: update.root is empty")
    try:
        updater = Updater(str(work), "metadata", fetcher=fetcher, config=_LIMITS, bootstrap=root)
    except exceptions.RepositoryError as failure:
        raise UpdateRefused(f"invalid: update.root cannot be trusted: {failure}") from failure
    # There is no public way to set the time. The tests of the clock pass for every version that we allow.
    updater._trusted_set.reference_time = _EVER if reference is None else reference
    return updater


def _saved_path(path: str) -> str:
    """Return where a file of the repository was saved: `metadata/7.snapshot.json` is `snapshot.json`."""
    name = path.removeprefix("metadata/")
    return f"{ROOTS}/{name}" if name.endswith(".root.json") else re.sub(r"^\d+\.", "", name)


def _trusted(updater: Updater, anchor: tuple[str, ...]) -> Trusted:
    found = updater._trusted_set
    floors = {role: RoleFloor(version=found[role].version,
                              keyids=anchor if role == "root" else tuple(found.root.roles[role].keyids))
              for role in ROLES}
    targets = (_target(path, file) for path, file in found.targets.targets.items())
    return Trusted(tuple(target for target in targets if target is not None), floors,
                   {role: found[role].expires for role in ROLES})


def _target(path: str, file: TargetFile) -> Target | None:
    """Return a target that a device can use, else None: a repository may have others, for newer or other devices."""
    place = PurePosixPath(path)
    sha256 = file.hashes.get("sha256", "")
    if not place.name or place.is_absolute() or ".." in place.parts or not re.fullmatch("[0-9a-f]{64}", sha256):
        log.info("target %r is ignored: no usable path or digest", path)
        return None
    try:
        return Target(path, file.length, sha256, Release.of(file.custom))
    except (ValueError, TypeError) as failure:
        why = failure.errors()[0]["msg"] if isinstance(failure, ValidationError) else failure
        log.info("target %r is ignored: %s", path, why)
        return None


def _check_floors(found: Mapping[str, RoleFloor], floors: Mapping[str, RoleFloor]) -> None:
    for role, now in found.items():
        floor = floors.get(role)
        if floor is not None and now.version < floor.version and set(floor.keyids) <= set(now.keyids):
            raise UpdateRefused(f"rollback: {role} has version {now.version}; this device has seen {floor.version}")


@contextmanager
def _as_update(fetcher: _Fetcher, reference: datetime | None) -> Iterator[None]:
    """Turn python-tuf's exceptions into ours."""
    try:
        yield
    except exceptions.DownloadHTTPError as failure:
        raise UpdateMissing(str(failure)) from failure
    except exceptions.BadVersionNumberError as failure:
        rule = "rollback" if fetcher.asked.endswith(("timestamp.json", "snapshot.json")) else "mixed"
        raise UpdateRefused(f"{rule}: {fetcher.asked}: {failure}") from failure
    except exceptions.ExpiredMetadataError as failure:
        when = f"the time on this device is {reference:%Y-%m-%d %H:%M} UTC"
        raise UpdateExpired(f"expired: {failure}; {when}") from failure
    except exceptions.RepositoryError as failure:
        rule = next(rule for kind, rule in _RULES if isinstance(failure, kind))
        raise UpdateRefused(f"{rule}: {fetcher.asked}: {failure}") from failure
