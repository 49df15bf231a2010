"""The repository of releases, and the operator's operations on it.

Invariants:
- Content is verified before it is used; a change is signed as a whole and put in place as a whole.
- Versions only grow; a file with a version or digest in its name never changes; a release number is given once.
- Nothing is signed while the clock is before the last signature, or under a root that has expired.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from vedette.errors import FleetError, KeyUnusable, ModelDamaged, UsageError
from vedette.fleet.folder import SETTINGS, FleetFolder
from vedette.fleet.metadata import CHAIN, ROLES, Edit, Expiry, Role, Signed
from vedette.fleet.settings import Bundle, Settings, Terms
from vedette.store.release import Release, Target
from vedette.update.rules import SET_CLOCK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.fleet.keys import KeyFolder

CLOCK_SLACK: Final = timedelta(minutes=5)
_NEW: Final = {"device_classes": ("default",), "channel": "stable"}


class Repository:
    """The repository in a locked folder, at the time `now`. Raises: FleetError if it is damaged."""

    def __init__(self, folder: FleetFolder, now: datetime) -> None:
        self._folder = folder
        self._now = now
        self.settings = Settings.parse(folder.read(SETTINGS) or b"")
        self._signed = Signed.read(folder)

    def __repr__(self) -> str:
        return f"<Repository {self._folder.path}, {len(self.targets)} releases>"

    @classmethod
    def create(cls, folder: FleetFolder, keys: KeyFolder, settings: Settings, *, root_keys: int = 1,
               root_threshold: int = 1) -> Repository:
        """Create keys and an empty repository in a new folder.

        Raises: FleetError if the clock was never set, KeyUnusable, ExtraMissing, StateUnusable.
        """
        now = settings.changed_at
        if now < SET_CLOCK:
            raise FleetError(f"this clock says {now:%Y-%m-%d}; expected a date after {SET_CLOCK:%Y-%m-%d}. Set the "
                             "clock: signatures made now would have expired already")
        unsigned = Signed.begin(keys, now, root_keys=root_keys, root_threshold=root_threshold)
        edit = unsigned.edit(keys, now, settings.terms)
        edit.sign_root()
        edit.sign_from("targets")
        folder.change({**edit.contents, SETTINGS: settings.serialize()})
        return cls(folder, now)

    @property
    def expiries(self) -> tuple[Expiry, ...]:
        """The expiry of each role, the soonest first."""
        return tuple(sorted(map(self._signed.expiry, ROLES), key=attrgetter("expires")))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The releases, the highest first."""
        return self._signed.targets()

    @property
    def due(self) -> tuple[Role, ...]:
        """The roles past half of their terms, which the next `renew` signs if their keys are available."""
        return tuple(filter(self._is_due, ROLES))

    def add(self, content: bytes, bundle: Bundle) -> None:
        """Store a verified bundle. Raises: ModelDamaged if the digest of `content` is another one; StateUnusable."""
        _check_digest(content, bundle.sha256, f"{bundle.name} {bundle.version}")
        others = tuple(other for other in self.settings.bundles if other.sha256 != bundle.sha256)
        settings = self.settings.model_copy(update={"bundles": (*others, bundle)})
        self._folder.change({bundle.path: content, SETTINGS: settings.serialize()})
        self.settings = settings

    def planned(self, bundle: Bundle | None, number: int | None, changes: Mapping[str, object]) -> Target:
        """Return what `release` would sign. Raises: FleetError, ModelDamaged, UsageError."""
        return self._plan(bundle, number, changes)[0]

    def release(self, keys: KeyFolder, bundle: Bundle | None, number: int | None,
                changes: Mapping[str, object], *, beside: Mapping[str, bytes] | None = None) -> Release:
        """Release a bundle, or change a release: `changes` are fields of Release; the other fields do not change.

        `beside`: files of the fleet's folder that change together with it.
        Raises: FleetError for a number that cannot be given, KeyUnusable, ModelDamaged, UsageError, StateUnusable.
        """
        target, contents = self._plan(bundle, number, changes)
        edit = self._edit(keys)
        edit.put(target)
        edit.sign_from("targets")
        self._put(edit, {**contents, **(beside or {})},
                  last_release=max(self.settings.last_release, target.release.release))
        return target.release

    def withdraw(self, keys: KeyFolder, number: int, *, beside: Mapping[str, bytes] | None = None) -> Release:
        """Withdraw a release; its file stays, since a device may be reading it. `beside`: as in `release`.

        Raises: FleetError if it is not released, KeyUnusable, StateUnusable.
        """
        target = next((target for target in self.targets if target.release.release == number), None)
        if target is None:
            known = ", ".join(str(target.release.release) for target in self.targets) or "none"
            raise FleetError(f"release {number}: not released; expected one of: {known}")
        edit = self._edit(keys)
        edit.remove(target)
        edit.sign_from("targets")
        self._put(edit, beside)
        return target.release

    def renew(self, keys: KeyFolder, days: int | None = None, *, root: bool = False) -> tuple[Role, ...]:
        """Sign each role again that is due, and the timestamp always; returns the renewed roles.

        A role is due after half of its term. It waits for a key that is not available, until it has expired. `days`:
        renew all three online roles, for this many days. `root`: renew root in any case. Raises: FleetError,
        KeyUnusable, StateUnusable.
        """
        renewed: tuple[Role, ...] = ()
        edit = self._edit(keys, expired_root=True)
        if root or self._is_due("root"):
            try:
                edit.sign_root()
                renewed = ("root",)
            except KeyUnusable:
                if root or self._is_expired("root"):
                    raise
        if days is not None:
            edit.terms = Terms(timestamp=days, snapshot=days, targets=days)
        first: Role = next((role for role in CHAIN if days is not None or (
            self._is_due(role) and (edit.can_sign(role) or self._is_expired(role)))), "timestamp")
        edit.sign_from(first)
        self._put(edit)
        return renewed + CHAIN[CHAIN.index(first):]

    def rotate(self, keys: KeyFolder, role: Role) -> tuple[str, ...]:
        """Give a role new keys, as many as it had; returns the ids of the old ones.

        Raises: KeyUnusable without enough root keys, FleetError, StateUnusable.
        """
        edit = self._edit(keys, expired_root=role == "root")
        old = edit.replace_keys(role)
        edit.sign_root()
        if role != "root":
            edit.sign_from(role)
        self._put(edit)
        return old

    def files(self) -> tuple[str, ...]:
        """Return the files that devices need, by paths below `repository/`, in the order of publication.

        A file comes after the files that it names, so `timestamp.json` comes after all that it leads to. Roots follow
        it: a new root may remove the key that signed the timestamp before. Raises: FleetError if a role has expired.
        """
        for expiry in self.expiries:
            if self._is_expired(expiry.role):
                raise FleetError(f"{expiry.role} expired on {expiry.expires:%Y-%m-%d}: every device would refuse it; "
                                 "run `vedette fleet renew` first")
        version = {expiry.role: expiry.version for expiry in self.expiries}
        return (*map(_file_of, self.targets), f"metadata/{version['targets']}.targets.json",
                f"metadata/{version['snapshot']}.snapshot.json", "metadata/timestamp.json",
                *(f"metadata/{number}.root.json" for number in range(1, version["root"] + 1)))

    def _plan(self, bundle: Bundle | None, number: int | None,
              changes: Mapping[str, object]) -> tuple[Target, dict[str, bytes]]:
        old = next((target for target in self.targets if target.release.release == number), None)
        if old is None:
            return self._new(bundle, number, changes)
        if bundle is not None and bundle.sha256 != old.sha256:
            raise FleetError(f"release {number} is {old.release.name} {old.release.version}, {old.sha256[:12]}…: "
                             "expected the same bundle; release another bundle under another number")
        return replace(old, release=_validated({**old.release.model_dump(), **changes})), {}

    def _new(self, bundle: Bundle | None, number: int | None,
             changes: Mapping[str, object]) -> tuple[Target, dict[str, bytes]]:
        following = self.settings.last_release + 1
        if bundle is None:
            raise FleetError(f"release {number}: not released; name a bundle to release it" if number else
                             "expected a bundle to release, or with --release the release to change")
        if number is not None and number < following:
            raise FleetError(f"release {number}: it was withdrawn or skipped; expected a number from {following} on")
        release = _validated({**_NEW, "kind": bundle.kind, "name": bundle.name, "version": bundle.version,
                              "release": number or following, "salt": self.settings.salt, **changes})
        content = self._folder.read(bundle.path) or b""
        _check_digest(content, bundle.sha256, str(self._folder.path / bundle.path))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{bundle.name}-{bundle.version}")
        target = Target(f"{release.release}/{name}{bundle.suffix}", len(content), bundle.sha256, release)
        return target, {f"repository/{_file_of(target)}": content}

    def _edit(self, keys: KeyFolder, *, expired_root: bool = False) -> Edit:
        if self._now < self.settings.changed_at - CLOCK_SLACK:
            raise FleetError(f"this clock says {self._now:%Y-%m-%d %H:%M} UTC; expected a time after the last "
                             f"signature at {self.settings.changed_at:%Y-%m-%d %H:%M}. Nothing was changed. Set the "
                             f"clock; if it was wrong at that signature, correct changed_at in {SETTINGS}")
        if not expired_root and self._is_expired("root"):
            raise FleetError(f"root expired on {self._signed.expiry('root').expires:%Y-%m-%d}: devices accept nothing "
                             "until `vedette fleet renew` signs it again with the root key")
        return self._signed.edit(keys, self._now, self.settings.terms)

    def _put(self, edit: Edit, contents: Mapping[str, bytes] | None = None, **changes: object) -> None:
        settings = self.settings.model_copy(update={"changed_at": self._now, **changes})
        self._folder.change({**(contents or {}), **edit.contents, SETTINGS: settings.serialize()})
        self.settings, self._signed = settings, edit.signed()

    def _is_expired(self, role: Role) -> bool:
        return self._signed.expiry(role).expires <= self._now

    def _is_due(self, role: Role) -> bool:
        return self._signed.expiry(role).expires - self._now < timedelta(days=getattr(self.settings.terms, role)) / 2


def _file_of(target: Target) -> str:
    """Return a target's path below `repository/`: consistent snapshots have the digest in the name."""
    folder, _, name = target.path.rpartition("/")
    return f"targets/{folder}/{target.sha256}.{name}"


def _validated(fields: Mapping[str, object]) -> Release:
    try:
        return Release.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _check_digest(content: bytes, sha256: str, what: str) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelDamaged(f"{what}: expected the digest {sha256[:12]}…, found another; add it again")
