"""The four signed roles: read and verified from root down, edited, signed again. The operator's side of python-tuf.

Invariants: only verified content is shown; the next role of `CHAIN` names each role except root, with version, length
and digest; an edit works on a copy, and signs roles in the order in which they name each other. A key that signed the
version before signs again as long as it is available, so that a device without the new roots can verify the role.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from vedette.errors import FleetError, KeyUnusable
from vedette.store.release import Release, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

    from vedette.fleet.folder import FleetFolder
    from vedette.fleet.keys import KeyFolder
    from vedette.fleet.settings import Terms

Role = Literal["root", "targets", "snapshot", "timestamp"]
CHAIN: Final[tuple[Role, ...]] = ("targets", "snapshot", "timestamp")
ROLES: Final[tuple[Role, ...]] = ("root", *CHAIN)
FOLDER: Final = "repository/metadata"
NEWEST_ROOT: Final = "root.json"
"""In the fleet's folder: the root that a new device is given to trust."""
ROLE_BYTES: Final = 5_000_000
"""The most bytes of a role that a device reads; enough for some 9,000 releases."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """The end of validity of a role's newest version."""

    role: Role
    version: int
    expires: datetime


class Signed:
    """The newest version of each role."""

    def __init__(self, roles: dict[Role, Metadata[Any]]) -> None:
        self._roles = roles

    @classmethod
    def read(cls, folder: FleetFolder) -> Self:
        """Read and verify the roles. Raises: FleetError naming the file that is missing or does not verify."""
        versions = [int(path.name.split(".")[0]) for path in (folder.path / FOLDER).glob("[0-9]*.root.json")]
        root = _read(folder, f"{max(versions, default=1)}.root.json", "root", None, None)
        timestamp = _read(folder, "timestamp.json", "timestamp", root, None)
        named = timestamp.signed.snapshot_meta
        snapshot = _read(folder, f"{named.version}.snapshot.json", "snapshot", root, named)
        named = snapshot.signed.meta["targets.json"]
        targets = _read(folder, f"{named.version}.targets.json", "targets", root, named)
        return cls({"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp})

    @classmethod
    def begin(cls, keys: KeyFolder, now: datetime, *, root_keys: int, root_threshold: int) -> Self:
        """Create keys, and version 0 of each role, to be edited and signed. Raises: KeyUnusable, ExtraMissing."""
        root = Root(expires=now)
        for role in (*("root",) * root_keys, *CHAIN):
            root.add_key(keys.create(role).public_key, role)
        root.roles["root"].threshold = root_threshold
        roles: dict[Role, Metadata[Any]] = {
            "root": Metadata(root), "targets": Metadata(Targets(expires=now)),
            "snapshot": Metadata(Snapshot(expires=now)), "timestamp": Metadata(Timestamp(expires=now))}
        for metadata in roles.values():
            metadata.signed.version = 0
        return cls(roles)

    def expiry(self, role: Role) -> Expiry:
        """Return the expiry of a role."""
        signed = self._roles[role].signed
        return Expiry(role, signed.version, signed.expires)

    def targets(self) -> tuple[Target, ...]:
        """Return the releases, the highest first. Raises: FleetError for a release that no device can parse."""
        try:
            found = [Target(path, target.length, target.hashes["sha256"], Release.of(target.custom))
                     for path, target in self._roles["targets"].signed.targets.items()]
        except (ValueError, TypeError, KeyError) as error:
            raise FleetError(f"a release in the signed metadata cannot be parsed: {error}") from error
        return tuple(sorted(found, key=attrgetter("release.release"), reverse=True))

    def edit(self, keys: KeyFolder, now: datetime, terms: Terms) -> Edit:
        """Return a copy to change and sign."""
        return Edit(self._roles, copy.deepcopy(self._roles), keys, now, terms)


@dataclass
class Edit:
    """New versions of roles. `contents`: the files that were signed, by their paths below the fleet's folder."""

    before: dict[Role, Metadata[Any]]
    roles: dict[Role, Metadata[Any]]
    keys: KeyFolder
    now: datetime
    terms: Terms
    contents: dict[str, bytes] = field(default_factory=dict)

    def signed(self) -> Signed:
        """Return the present roles."""
        return Signed(self.roles)

    def put(self, target: Target) -> None:
        """Add or replace a target, by its path."""
        self.roles["targets"].signed.targets[target.path] = TargetFile(
            target.length, {"sha256": target.sha256}, target.path, {"custom": target.release.custom()})

    def remove(self, target: Target) -> None:
        """Take a target out."""
        del self.roles["targets"].signed.targets[target.path]

    def replace_keys(self, role: Role) -> tuple[str, ...]:
        """Give a role new keys, as many as it had; returns the old ones' ids. Raises: KeyUnusable, ExtraMissing."""
        root: Root = self.roles["root"].signed
        self._root_signers(root)      # raises before a key is created that no root could introduce
        old = tuple(root.roles[role].keyids)
        for keyid in old:
            root.revoke_key(keyid, role)
        for _ in old:
            root.add_key(self.keys.create(role).public_key, role)
        return old

    def can_sign(self, role: Role) -> bool:
        """Whether the keys of a role are available."""
        return None not in [self._available(role, keyid) for keyid in self.roles["root"].signed.roles[role].keyids]

    def sign_root(self) -> None:
        """Sign root with its own keys and those of the version before. Raises: KeyUnusable."""
        signers = [*self._root_signers(self.before["root"].signed), *self._root_signers(self.roles["root"].signed)]
        self._sign("root", list({signer.public_key.keyid: signer for signer in signers}.values()))

    def sign_from(self, first: Role) -> None:
        """Sign a role of the chain and those that name it. Raises: KeyUnusable, FleetError."""
        root: Root = self.roles["root"].signed
        for role in CHAIN[CHAIN.index(first):]:
            valid = root.roles[role].keyids
            before = [self._available(role, keyid) for keyid in self.before[role].signatures if keyid not in valid]
            signers = [self.keys.signer(role, keyid) for keyid in valid]
            content = self._sign(role, [*signers, *(signer for signer in before if signer is not None)])
            named = MetaFile.from_data(self.roles[role].signed.version, content, ["sha256"])
            if role == "targets":
                self.roles["snapshot"].signed.meta["targets.json"] = named
            elif role == "snapshot":
                self.roles["timestamp"].signed.snapshot_meta = named

    def _sign(self, role: Role, signers: Sequence[Signer]) -> bytes:
        metadata = self.roles[role]
        metadata.signed.version += 1
        metadata.signed.expires = self.now + timedelta(days=getattr(self.terms, role))
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        content = metadata.to_bytes()
        if len(content) > ROLE_BYTES:
            raise FleetError(f"{role}: {len(content):,} bytes; expected at most {ROLE_BYTES:,}, since devices read no "
                             "more; withdraw old releases")
        name = role if role == "timestamp" else f"{metadata.signed.version}.{role}"
        self.contents[f"{FOLDER}/{name}.json"] = content
        if role == "root":
            self.contents[NEWEST_ROOT] = content
        return content

    def _root_signers(self, root: Root) -> list[Signer]:
        """Return the available root signers. Raises: KeyUnusable if they are too few."""
        found: list[Signer] = []
        refusal = None
        for keyid in root.roles["root"].keyids:
            try:
                found.append(self.keys.signer("root", keyid))
            except KeyUnusable as error:
                refusal = error
        if refusal is not None and len(found) < root.roles["root"].threshold:
            raise refusal
        return found

    def _available(self, role: Role, keyid: str) -> Signer | None:
        try:
            return self.keys.signer(role, keyid)
        except KeyUnusable:
            return None


def _read(folder: FleetFolder, name: str, role: Role, root: Metadata[Any] | None,
          named: MetaFile | None) -> Metadata[Any]:
    content = folder.read(f"{FOLDER}/{name}")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(content or b"")
        if named is not None:
            named.verify_length_and_hashes(content or b"")
        (root or metadata).signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, DeserializationError, ValueError, AttributeError) as error:
        why = "the file is missing" if content is None else str(error)
        raise FleetError(f"{folder.path / FOLDER / name}: {why}; restore the folder from your backup") from error
    return metadata
