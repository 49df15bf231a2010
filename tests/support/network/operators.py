"""An operator's fleet in a folder, and devices as plain python-tuf clients that read the published files by HTTP."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater

from vedette.fleet.folder import FleetFolder
from vedette.fleet.keys import KeyFolder
from vedette.fleet.publish import publish
from vedette.fleet.repository import Repository
from vedette.fleet.settings import Bundle, Settings, Terms
from vedette.store.release import Release
from vedette.update.source import UpdateSource

NOW = datetime.now(UTC).replace(microsecond=0)


def bundle_of(content: bytes, version: str = "3", name: str = "street") -> Bundle:
    sha256 = hashlib.sha256(content).hexdigest()
    return Bundle(sha256=sha256, size=len(content), name=name, version=version, proven=True, added_at=NOW)


class Operator:
    """A fleet in `folder`, published to `served`. Each call opens the folder as a command does."""

    def __init__(self, folder: Path, *, now: datetime = NOW, passphrase: bytes | None = None, root_keys: int = 1,
                 root_threshold: int = 1, **terms: int) -> None:
        self._found(folder, now, passphrase)
        settings = Settings(salt="salt", keys="keys", terms=Terms(**terms), changed_at=now)
        with FleetFolder(self.folder, new=True) as held:
            Repository.create(held, self.keys, settings, root_keys=root_keys, root_threshold=root_threshold)

    @classmethod
    def existing(cls, folder: Path) -> Self:
        operator = cls.__new__(cls)
        operator._found(folder, datetime.now(UTC), None)
        return operator

    def _found(self, folder: Path, now: datetime, passphrase: bytes | None) -> None:
        self.folder, self.served = folder / "fleet", folder / "served"
        self.now = now
        self.keys = KeyFolder(self.folder / "keys", passphrase)

    @contextmanager
    def opened(self) -> Iterator[Repository]:
        with FleetFolder(self.folder) as held:
            yield Repository(held, self.now)

    def release(self, content: bytes, version: str = "3", number: int | None = None, **changes: object) -> Release:
        with self.opened() as repository:
            bundle = bundle_of(content, version)
            repository.add(content, bundle)
            return repository.release(self.keys, bundle, number, changes)

    def publish(self, copied: Callable[[str], None] = lambda _name: None) -> int:
        with self.opened() as repository:
            return publish(self.folder / "repository", repository.files(), self.served, copied)

    @property
    def root(self) -> bytes:
        return (self.folder / "root.json").read_bytes()

    def key_file(self, role: str) -> Path:
        return next((self.folder / "keys").glob(f"{role}-*.pem"))


class Device:
    """One device's metadata folder, and what it makes of a server."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self._folder, self._url, self._root = folder, url, root
        folder.mkdir(parents=True, exist_ok=True)

    def _updater(self) -> Updater:
        return Updater(str(self._folder), f"{self._url}metadata", str(self._folder), f"{self._url}targets",
                       bootstrap=self._root)

    def releases(self) -> dict[int, Release]:
        """Refresh; returns what is released, by number. Raises what python-tuf raises."""
        self._updater().refresh()
        targets = Metadata[Targets].from_file(str(self._folder / "targets.json")).signed.targets
        found = [Release.of(target.custom) for target in targets.values()]
        return {release.release: release for release in found}

    def download(self, path: str) -> bytes:
        updater = self._updater()
        target = updater.get_targetinfo(path)
        assert target is not None, path
        return Path(updater.download_target(target)).read_bytes()


class Vedette(Device):
    """The same with the daemon's own client, and the floors it would keep."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        super().__init__(folder, url, root)
        self._floors = folder / "floors.pickle"

    def releases(self) -> dict[int, Release]:
        """Refresh; returns what is released, by number. Raises: UpdateError."""
        floors = pickle.loads(self._floors.read_bytes()) if self._floors.exists() else {}  # noqa: S301 - our own
        trusted = UpdateSource(self._url, self._root, self._folder / "metadata").refresh(floors, datetime.now(UTC))
        self._floors.write_bytes(pickle.dumps(dict(trusted.floors)))
        return {target.release.release: target.release for target in trusted.targets}
