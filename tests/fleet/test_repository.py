"""Signed releases, verified by a plain python-tuf client on a real HTTP server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError

from tests.support.faults.synced_folders import synced_folders
from tests.support.network.http_server import serving_folder
from tests.support.network.operators import NOW, Device, Operator, Vedette, bundle_of
from tests.support.present import present
from vedette.errors import FleetBusy, FleetError, KeyUnusable, ModelDamaged, UsageError
from vedette.fleet.folder import FleetFolder
from vedette.fleet.keys import KeyFolder
from vedette.fleet.metadata import ROLES, Signed
from vedette.fleet.publish import publish
from vedette.fleet.settings import Settings, Terms

MODEL, OTHER = b"a model" * 1000, b"another model" * 1000


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def url(operator: Operator) -> Iterator[str]:
    with serving_folder(operator.served) as web:
        yield web.url


@pytest.fixture
def device(operator: Operator, url: str, tmp_path: Path) -> Device:
    """A device that trusts the first root."""
    return Device(tmp_path / "device", url, operator.root)


def test_a_device_gets_a_release(operator: Operator, device: Device) -> None:
    """It gets the model's bytes and every field of the release, fractions too."""
    shadow = {"frames": "100", "minutes": "0.5"}
    release = operator.release(MODEL, buckets=(0, 3999), shadow=shadow, variant="b", device_classes=("default", "yard"))
    operator.publish()
    assert device.releases() == {1: release}
    assert device.download("1/street-3.tflite") == MODEL
    assert (release.salt, present(release.shadow).minutes, release.trial.frames) == ("salt", 0.5, 300)


def test_a_withdrawn_release_is_gone_and_its_file_stays(operator: Operator, device: Device) -> None:
    """Devices no longer see it; a device that is reading the file may finish."""
    operator.release(MODEL)
    operator.release(OTHER, "4")
    operator.publish()
    assert set(device.releases()) == {1, 2}
    with operator.opened() as repository:
        assert repository.withdraw(operator.keys, 2).version == "4"
    operator.publish()
    assert set(device.releases()) == {1}
    assert list((operator.served / "targets/2").iterdir())


def change(operator: Operator, name: str, *arguments: object) -> None:
    with operator.opened() as repository:
        getattr(repository, name)(operator.keys, *arguments)


def rotate(role: str, operator: Operator) -> None:
    change(operator, "rotate", role)


def rotate_all(fleet: Operator) -> None:
    """Give every role new keys before anything is published, in the order in which each is signed again by the next."""
    for role in ("root", "timestamp", "snapshot", "targets"):
        rotate(role, fleet)
    change(fleet, "renew")


CHANGES: dict[str, Callable[[Operator], object]] = {
    "release": lambda fleet: fleet.release(OTHER, "4"),
    "withdraw": lambda fleet: change(fleet, "withdraw", 1),
    "renew": lambda fleet: change(fleet, "renew", 120),
    **{role: partial(rotate, role) for role in ROLES},
    "every role, and a renewal": rotate_all,
}


@pytest.mark.parametrize("client", [Device, Vedette])
@pytest.mark.parametrize("name", CHANGES)
def test_a_device_may_poll_at_any_moment_of_a_publication(operator: Operator, url: str, tmp_path: Path, name: str,
                                                          client: type[Device | Vedette]) -> None:
    """After each copied file, an existing device and a new one both find metadata that verifies."""
    operator.release(MODEL)
    operator.publish()
    root = operator.root
    known = tmp_path / "known"
    client(known, url, root).releases()
    moments = []

    def poll(_name: str) -> None:
        moments.append(_name)
        for before in (known, None):
            folder = tmp_path / f"device-{len(moments)}-{before is None}"
            if before is not None:
                shutil.copytree(before, folder, symlinks=True)
            client(folder, url, root).releases()

    CHANGES[name](operator)
    operator.publish(poll)
    assert "metadata/timestamp.json" in moments or name == "root"
    assert client(known, url, root).releases().keys() == {"release": {1, 2}, "withdraw": set()}.get(name, {1})


def test_a_root_published_before_the_timestamp_would_be_refused(operator: Operator, device: Device,
                                                                tmp_path: Path) -> None:
    """The naive order fails the test above; so roots come last."""
    operator.publish()
    device.releases()
    change(operator, "rotate", "timestamp")
    with operator.opened() as repository:
        names = repository.files()
        publish(operator.folder / "repository", [name for name in names if "root" in name], operator.served)
    with pytest.raises(RepositoryError):
        device.releases()


def test_the_old_key_is_refused_after_rotation(operator: Operator, device: Device) -> None:
    """A device that has seen the new root refuses signatures of the old key."""
    operator.publish()
    before = (operator.served / "metadata/timestamp.json").read_bytes()
    device.releases()
    change(operator, "rotate", "timestamp")
    operator.publish()
    device.releases()
    (operator.served / "metadata/timestamp.json").write_bytes(before)
    with pytest.raises(RepositoryError):
        device.releases()


def test_an_old_key_signs_until_it_is_destroyed(operator: Operator) -> None:
    """A device that has not polled since verifies what came after the rotation too."""
    def signatures() -> int:
        return len(json.loads((operator.folder / "repository/metadata/timestamp.json").read_bytes())["signatures"])
    old = operator.key_file("timestamp")
    change(operator, "rotate", "timestamp")
    change(operator, "renew")
    assert signatures() == 2
    old.unlink()
    change(operator, "renew")
    assert signatures() == 1


def test_a_lost_online_key_is_replaced_with_the_root_key(operator: Operator, device: Device) -> None:
    """No signature of the lost key is needed."""
    operator.release(MODEL)
    operator.publish()
    device.releases()
    operator.key_file("targets").unlink()
    with pytest.raises(KeyUnusable, match="targets key"):
        operator.release(OTHER, "4")
    change(operator, "rotate", "targets")
    operator.release(OTHER, "4")
    operator.publish()
    assert set(device.releases()) == {1, 2}


def test_expired_metadata_is_refused_until_renewed(tmp_path: Path) -> None:
    """A device refuses it, publishing refuses it, and renewing makes it valid again."""
    operator = Operator(tmp_path, now=NOW - timedelta(days=2), timestamp=1)
    operator.publish()
    with serving_folder(operator.served) as web:
        device = Device(tmp_path / "device", web.url, operator.root)
        with pytest.raises(ExpiredMetadataError):
            device.releases()
        operator.now = NOW
        with pytest.raises(FleetError, match="timestamp expired"):
            operator.publish()
        with operator.opened() as repository:
            assert repository.renew(operator.keys) == ("timestamp",)
        operator.publish()
        assert device.releases() == {}


def expiries(operator: Operator) -> dict[str, int]:
    """Return the days that are left of each role."""
    with operator.opened() as repository:
        return {expiry.role: (expiry.expires - operator.now).days for expiry in repository.expiries}


def test_renewing_signs_roles_past_half_of_their_term(operator: Operator) -> None:
    """Root and the large roles do not change while they are new, so devices need not fetch them again."""
    assert expiries(operator) == {"timestamp": 14, "snapshot": 90, "targets": 90, "root": 400}
    operator.now = NOW + timedelta(days=44)
    change(operator, "renew")
    assert expiries(operator) == {"timestamp": 14, "snapshot": 46, "targets": 46, "root": 356}
    operator.now = NOW + timedelta(days=46)
    change(operator, "renew")
    assert expiries(operator) == {"timestamp": 14, "snapshot": 90, "targets": 90, "root": 354}
    operator.now = NOW + timedelta(days=201)
    change(operator, "renew")
    assert expiries(operator)["root"] == 400


def test_renewing_for_a_quiet_quarter(operator: Operator) -> None:
    """All three online roles are valid for the given days."""
    change(operator, "renew", 120)
    assert expiries(operator) == {"timestamp": 120, "snapshot": 120, "targets": 120, "root": 400}


def test_renewing_without_the_root_key(operator: Operator, tmp_path: Path) -> None:
    """The online roles are renewed while root is valid; after that, root's key is needed, from its own place."""
    operator.release(MODEL)
    stick = tmp_path / operator.key_file("root").name
    operator.key_file("root").rename(stick)
    operator.now = NOW + timedelta(days=399)
    change(operator, "renew")
    operator.now = NOW + timedelta(days=401)
    for name, arguments in (("renew", ()), ("rotate", ("timestamp",)), ("withdraw", (1,))):
        with pytest.raises(FleetError, match="root"):
            change(operator, name, *arguments)
    operator.keys = KeyFolder(operator.folder / "keys", extra=(stick,))
    change(operator, "renew")
    assert expiries(operator)["root"] == 400


def test_renewing_without_the_targets_key(operator: Operator, tmp_path: Path) -> None:
    """It may be on a stick: the other roles are renewed until it has expired, and then the key is asked for."""
    operator.key_file("targets").rename(tmp_path / "stick")
    operator.now = NOW + timedelta(days=60)
    with operator.opened() as repository:
        assert repository.renew(operator.keys) == ("snapshot", "timestamp")
        assert repository.due == ("targets",)
    assert expiries(operator) == {"timestamp": 14, "snapshot": 90, "targets": 30, "root": 340}
    with pytest.raises(KeyUnusable, match="targets key"):
        change(operator, "renew", 120)
    operator.now = NOW + timedelta(days=91)
    with pytest.raises(KeyUnusable, match="targets key"):
        change(operator, "renew")


def test_a_release_is_widened_and_keeps_the_rest(operator: Operator, device: Device) -> None:
    """Only the given fields change; the file and the number stay."""
    operator.release(MODEL, buckets=(0, 3999), trial={"minutes": "30"})
    operator.publish()
    with operator.opened() as repository:
        repository.release(operator.keys, None, 1, {"buckets": (0, 9999)})
    assert operator.publish() == 3      # targets, snapshot, timestamp
    release = device.releases()[1]
    assert (release.buckets, release.trial.minutes) == ((0, 9999), 30)


def test_numbers_only_grow(operator: Operator) -> None:
    """A withdrawn number, a number below the last, and the number of another bundle are refused."""
    operator.release(MODEL, number=5)
    with pytest.raises(FleetError, match="release another bundle under another number"):
        operator.release(OTHER, "4", number=5)
    change(operator, "withdraw", 5)
    for number in (3, 5):
        with pytest.raises(FleetError, match="expected a number from 6 on"):
            operator.release(MODEL, number=number)
    assert operator.release(MODEL).release == 6


def test_what_cannot_be_released(operator: Operator) -> None:
    """An unknown release, no bundle, invalid fields, a bundle damaged on disk: each message gives the reason."""
    bundle = bundle_of(MODEL)
    with operator.opened() as repository:
        repository.add(MODEL, bundle)
        for given, number, fields, error, words in (
                (None, 9, {}, FleetError, "release 9: not released"),
                (None, None, {}, FleetError, "a bundle to release"),
                (bundle, None, {"buckets": (5, 2)}, UsageError, "first <= last"),
                (bundle, None, {"trial": {"frames": "many"}}, UsageError, "trial.frames")):
            with pytest.raises(error, match=words):
                repository.release(operator.keys, given, number, fields)
        with pytest.raises(FleetError, match="expected one of: none"):
            repository.withdraw(operator.keys, 1)
        (operator.folder / bundle.path).write_bytes(OTHER)
        with pytest.raises(ModelDamaged):
            repository.release(operator.keys, bundle, None, {})
        with pytest.raises(ModelDamaged):
            repository.add(OTHER, bundle)
        assert repository.targets == ()


def test_a_wrong_clock_signs_nothing(operator: Operator, tmp_path: Path) -> None:
    """A clock that was never set, or one before the last signature, is refused."""
    operator.now = NOW - timedelta(hours=1)
    with pytest.raises(FleetError, match="this clock says"):
        operator.release(MODEL)
    with pytest.raises(FleetError, match="expected a date after"):
        Operator(tmp_path / "new", now=datetime(2020, 1, 1, tzinfo=UTC))


def test_two_of_three_root_keys(tmp_path: Path) -> None:
    """Fewer keys than the threshold cannot rotate; enough keys can, and devices follow. No key is created in vain."""
    operator = Operator(tmp_path, root_keys=3, root_threshold=2)
    operator.publish()
    first, second, _ = sorted((operator.folder / "keys").glob("root-*.pem"))
    with serving_folder(operator.served) as web:
        device = Device(tmp_path / "device", web.url, operator.root)
        device.releases()
        first.rename(tmp_path / "first")
        change(operator, "rotate", "snapshot")
        second.rename(tmp_path / "second")
        files = set((operator.folder / "keys").iterdir())
        with pytest.raises(KeyUnusable, match="root key"):
            change(operator, "rotate", "snapshot")
        assert set((operator.folder / "keys").iterdir()) == files
        operator.keys = KeyFolder(operator.folder / "keys", extra=(tmp_path / "second",))
        change(operator, "rotate", "root")
        operator.publish()
        device.releases()
    assert len(list((operator.folder / "keys").glob("root-*.pem"))) == 1 + 3


def test_keys_are_the_owners_alone_and_locked(tmp_path: Path) -> None:
    """The mode is 0600; keys with a passphrase open only with it."""
    operator = Operator(tmp_path, passphrase=b"secret")
    files = list((operator.folder / "keys").iterdir())
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert all(b"ENCRYPTED" in path.read_bytes() for path in files)
    operator.release(MODEL)
    for passphrase, words in ((None, "has a passphrase"), (b"guess", "passphrase is wrong")):
        operator.keys = KeyFolder(operator.folder / "keys", passphrase)
        with pytest.raises(KeyUnusable, match=words):
            change(operator, "renew")


def test_a_new_key_is_durable(tmp_path: Path) -> None:
    """Its name is synced too: a root that names a lost key cannot be renewed."""
    with synced_folders() as synced:
        KeyFolder(tmp_path / "keys").create("root")
    assert str(tmp_path / "keys") in synced


def rsa() -> bytes:
    return CryptoSigner.generate_rsa().private_bytes


@pytest.mark.parametrize(("content", "words"), [
    (lambda _: b"no key", "expected a private key"),
    (lambda fleet: fleet.key_file("snapshot").read_bytes(), "another key"),
    (lambda _: rsa(), "expected an ed25519 key"), (lambda _: None, "cannot be read")])
def test_a_file_that_is_not_the_key(operator: Operator, content: Callable[[Operator], bytes | None],
                                    words: str) -> None:
    """The message says what is in the place of the key."""
    path = operator.key_file("timestamp")
    found = content(operator)
    path.unlink()
    if found is None:
        path.mkdir()
    else:
        path.write_bytes(found)
    with pytest.raises(KeyUnusable, match=words):
        change(operator, "renew")


def test_keys_that_cannot_be_kept(operator: Operator) -> None:
    """If a new key cannot be written, no role trusts it."""
    operator.keys = KeyFolder(operator.folder / "fleet.json", extra=(operator.key_file("root"),))
    with pytest.raises(KeyUnusable, match="cannot be written"):
        change(operator, "rotate", "timestamp")


def test_a_release_that_another_tool_signed(operator: Operator) -> None:
    """The keys are right but the release is invalid: the message says so, and nothing is signed on top of it."""
    operator.release(MODEL)
    with FleetFolder(operator.folder) as folder:
        edit = Signed.read(folder).edit(operator.keys, NOW, Terms())
        next(iter(edit.roles["targets"].signed.targets.values())).unrecognized_fields["custom"] = {"release": "one"}
        edit.sign_from("targets")
        folder.change(edit.contents)
    with pytest.raises(FleetError, match="cannot be parsed"):
        operator.publish()


def test_a_role_larger_than_devices_read_is_not_signed(operator: Operator) -> None:
    """The limit is 5 MB."""
    classes = tuple(f"{number:0100d}" for number in range(50_000))
    with pytest.raises(FleetError, match="devices read no more"):
        operator.release(MODEL, device_classes=classes)
    assert operator.release(MODEL).release == 1


@pytest.mark.parametrize("name", ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_damaged_metadata_is_named(operator: Operator, name: str) -> None:
    """Altered, cut or missing: the message names the file, and nothing is signed on top of it."""
    path = operator.folder / "repository/metadata" / name
    whole = path.read_bytes()
    role = json.loads(whole)["signed"]["_type"]
    for content in (whole.replace(b'"expires":"20', b'"expires":"21'), whole[:-9], b"", b"[]", None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(FleetError, match=role):
            change(operator, "renew")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_old_metadata_under_a_new_name_is_named(operator: Operator, role: str) -> None:
    """The right key is not enough: version, length and digest reveal a backup that mixes two states."""
    operator.release(MODEL)
    folder = operator.folder / "repository/metadata"
    shutil.copyfile(folder / f"1.{role}.json", folder / f"2.{role}.json")
    with pytest.raises(FleetError, match=rf"2\.{role}\.json: Observed"):
        operator.publish()


def test_settings_are_read_back(operator: Operator) -> None:
    """parse(serialize(x)) == x; the message names a file that cannot be parsed."""
    operator.release(MODEL)
    with operator.opened() as repository:
        settings = repository.settings
    assert Settings.parse(settings.serialize()) == settings
    assert [bundle.version for bundle in settings.bundles] == ["3"]
    (operator.folder / "fleet.json").write_text("{}")
    with pytest.raises(FleetError, match=r"fleet\.json: salt"), operator.opened():
        pass


def test_bundles_are_found_by_name_version_or_digest(operator: Operator) -> None:
    """The name alone gives the newest; for an unknown bundle, the message lists those that were added."""
    old, new = bundle_of(MODEL), bundle_of(OTHER, "4").model_copy(update={"added_at": NOW + timedelta(days=1)})
    settings = Settings(salt="", keys="keys", changed_at=NOW, bundles=(old, new))
    assert [settings.bundle(asked).version for asked in ("street", "street:3", old.sha256, new.sha256[:6])] == [
        "4", "3", "3", "4"]
    with pytest.raises(FleetError, match=r"yard: expected a bundle .* street:3, street:4"):
        settings.bundle("yard")


def test_one_at_a_time_and_never_twice(operator: Operator, tmp_path: Path) -> None:
    """A second command gets FleetBusy; a second `init` gets the message that a fleet exists."""
    with FleetFolder(operator.folder), pytest.raises(FleetBusy):
        FleetFolder(operator.folder)
    with pytest.raises(FleetError, match="a fleet exists there"):
        Operator(operator.folder.parent)
    for empty in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FleetError, match="expected a fleet there"):
            FleetFolder(Path(empty))
    assert not (tmp_path / "lock").exists()
