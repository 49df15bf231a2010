"""A real TUF repository in a folder, its real HTTP server, and a device that reads it: tests falsify each of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from tests.support.network.http_server import served
from vedette.store.release import Release, Target
from vedette.store.state import RoleFloor
from vedette.update.source import Trusted, UpdateSource

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ONLINE = ("targets", "snapshot", "timestamp")
DAYS = {"root": 400, "targets": 90, "snapshot": 90, "timestamp": 14}

Answer = Callable[[BaseHTTPRequestHandler], None]


class Repository:
    """An operator's keys, and a folder with `metadata/` and `targets/`. `publish` after each change."""

    def __init__(self, folder: Path, now: datetime = NOW) -> None:
        self.folder = folder
        self.now = now
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self.signers = {role: CryptoSigner.generate_ed25519() for role in DAYS}
        self.root, self.targets, self.snapshot, self.timestamp = Root(), Targets(), Snapshot(), Timestamp()
        for signed in (self.root, self.targets, self.snapshot, self.timestamp):
            signed.version = 0
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.publish_root()
        self.publish()

    @property
    def first_root(self) -> bytes:
        """The root that a device is installed with."""
        return self.path("1.root").read_bytes()

    def path(self, name: str) -> Path:
        return self.folder / "metadata" / f"{name}.json"

    def add(self, release: int, content: bytes, **changes: Any) -> Target:
        """Release a file, and publish."""
        custom = Release(**{"name": "street", "version": str(release), "release": release,
                            "device_classes": ("default",), "channel": "stable", **changes})
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"{release}/street.tflite"
        place = self.folder / "targets" / str(release) / f"{sha256}.street.tflite"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        self.targets.targets[path] = TargetFile(len(content), {"sha256": sha256}, path, {"custom": custom.custom()})
        self.publish()
        return Target(path, len(content), sha256, custom)

    def withdraw(self, target: Target) -> None:
        """Withdraw a release, and publish."""
        del self.targets.targets[target.path]
        self.publish()

    def rotate(self, *roles: str) -> None:
        """Give roles new keys, in a new root that the old and the new root key sign; and publish."""
        signers = [self.signers["root"]]
        for role in roles:
            self.root.revoke_key(self.signers[role].public_key.keyid, role)
            self.signers[role] = CryptoSigner.generate_ed25519()
            self.root.add_key(self.signers[role].public_key, role)
        self.publish_root(*signers)
        self.publish()

    def publish_root(self, *others: CryptoSigner) -> None:
        self._next(self.root, "root", f"{self.root.version + 1}.root", self.signers["root"], *others)

    def publish(self) -> None:
        """Sign new versions of the three roles below root; the timestamp last."""
        content = self._next(self.targets, "targets", f"{self.targets.version + 1}.targets")
        self.snapshot.meta["targets.json"] = MetaFile.from_data(self.targets.version, content, ["sha256"])
        self.publish_snapshot()

    def publish_snapshot(self) -> None:
        content = self._next(self.snapshot, "snapshot", f"{self.snapshot.version + 1}.snapshot")
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, content, ["sha256"])
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        self._next(self.timestamp, "timestamp", "timestamp")

    def sign(self, signed: Signed, *signers: CryptoSigner) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def _next(self, signed: Signed, role: str, name: str, *signers: CryptoSigner) -> bytes:
        signed.version += 1
        signed.expires = self.now + DAYS[role] * DAY
        content = self.sign(signed, *(signers or (self.signers[role],)))
        self.path(name).write_bytes(content)
        return content

    def files(self) -> dict[Path, bytes]:
        """All files, for an attacker who puts them back later."""
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


class Device:
    """A device's source, its metadata, and the floors that it persists."""

    def __init__(self, folder: Path, source: str, root: bytes, deadline_s: float = 60) -> None:
        self.metadata = folder / "metadata"
        self.incoming = folder / "incoming"
        self.incoming.mkdir(parents=True)
        self.source = UpdateSource(source, root, self.metadata, deadline_s=deadline_s)
        self.floors: Mapping[str, RoleFloor] = {}

    def refresh(self, reference: datetime | None = NOW) -> Trusted:
        trusted = self.source.refresh(self.floors, reference)
        self.floors = trusted.floors
        return trusted

    def releases(self, reference: datetime | None = NOW) -> list[int]:
        return sorted(target.release.release for target in self.refresh(reference).targets)

    def download(self, target: Target, deadline_s: float = 60) -> bytes:
        into = self.incoming / "model"
        self.source.download(target, into, progress=lambda *_: None, deadline_s=deadline_s)
        return into.read_bytes()

    def lose_power(self) -> None:
        """Files that were written without fsync are there, and empty."""
        for path in self.metadata.rglob("*.json"):
            path.write_bytes(b"")

    def kept(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.metadata.glob("*.json")}


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is expected."""


class Server:
    """Serves a folder, with ranges. `answers` replace files, by path; `asked` has each request, with its range."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers["Range"]
                server.asked.append((self.path, asked))
                place = folder / self.path.lstrip("/")
                if self.path in server.answers:
                    server.answers[self.path](self)
                elif not place.is_file():
                    self.send_error(404)
                else:
                    send(self, place.read_bytes(), asked if server.ranges else None)

            def log_message(self, *_: Any) -> None:
                """Nothing, for a quiet test."""

        self.http = _QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Server]:
        with served(self.http):
            yield self


def send(handler: BaseHTTPRequestHandler, content: bytes, asked: str | None = None) -> None:
    """Answer with these bytes, or the requested part of them."""
    wanted = re.fullmatch(r"bytes=(\d+)-", asked) if asked else None
    start = int(wanted[1]) if wanted else 0
    if start and start >= len(content):
        handler.send_error(416)
        return
    handler.send_response(206 if asked else 200)
    if asked:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:])
