"""The known attacks on software updates, by their names, against the real client: each refused for its own reason.

After each refusal nothing the device trusts has changed, and it takes an update from the honest repository as before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Timestamp
from tuf.ngclient import Updater

from tests.support.network.repository_of_lies import DAY, NOW, ONLINE, Device, Repository, Server, send
from vedette.errors import UpdateRefused, UpdateUnreachable

MODEL = b"a model " * 1000


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.add(1, MODEL + b"1")
    return made


@pytest.fixture
def server(repository: Repository) -> Iterator[Server]:
    with Server(repository.folder).running() as running:
        yield running


@pytest.fixture(params=["http", "folder"])
def device(request: pytest.FixtureRequest, tmp_path: Path, repository: Repository, server: Server) -> Device:
    """A device that has seen the first release, over each kind of source."""
    source = server.url if request.param == "http" else str(repository.folder)
    made = Device(tmp_path / "device", source, repository.first_root)
    assert made.releases() == [1]
    return made


@contextmanager
def refused(device: Device, rule: str) -> Iterator[None]:
    """Inside, an update is refused by the rule; and nothing changes."""
    kept, floors = device.kept(), device.floors
    with pytest.raises(UpdateRefused, match=f"^{rule}"):
        yield
    assert (device.kept(), device.floors) == (kept, floors)


def put_back(files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        path.write_bytes(content)


def stolen(repository: Repository) -> dict[Path, bytes]:
    """What an attacker kept before the second release."""
    files = repository.files()
    repository.add(2, MODEL + b"2")
    return files


def recovers(device: Device, repository: Repository) -> None:
    """The honest repository's next release arrives."""
    repository.add(9, MODEL + b"9")
    assert device.releases()[-1] == 9
    target = max(device.refresh().targets, key=lambda target: target.release.release)
    assert device.download(target) == MODEL + b"9"


def test_arbitrary_software_signed_by_nobody_we_trust(device: Device, repository: Repository) -> None:
    """Metadata signed with a foreign key is refused."""
    honest = repository.files()
    honest_signers = dict(repository.signers)
    repository.signers.update({role: CryptoSigner.generate_ed25519() for role in ONLINE})
    repository.add(3, b"arbitrary software")
    with refused(device, "unsigned: metadata/timestamp.json"):
        device.refresh()
    put_back(honest)
    repository.signers = honest_signers
    recovers(device, repository)


def test_arbitrary_software_without_a_signature(device: Device, repository: Repository) -> None:
    """Metadata without a signature is refused."""
    honest = repository.files()
    repository.timestamp.version += 1
    repository.path("timestamp").write_bytes(repository.sign(repository.timestamp))
    with refused(device, "unsigned: metadata/timestamp.json"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_arbitrary_software_under_a_signed_name(device: Device, repository: Repository) -> None:
    """A different file of the same length in place of the signed one is refused."""
    target = device.refresh().targets[0]
    place = next((repository.folder / "targets/1").iterdir())
    place.write_bytes(MODEL + b"X")
    with refused(device, "wrong digest: targets/1/"):
        device.download(target)
    assert list(device.incoming.glob("model")) == []
    place.write_bytes(MODEL + b"1")
    assert device.download(target) == MODEL + b"1"


def test_rollback_of_the_timestamp(device: Device, repository: Repository) -> None:
    """A replay of the whole old repository is refused."""
    old = stolen(repository)
    assert device.releases() == [1, 2]
    honest = repository.files()
    put_back(old)
    with refused(device, "rollback: metadata/timestamp.json"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_rollback_of_the_snapshot_by_a_stolen_timestamp_key(device: Device, repository: Repository) -> None:
    """A new timestamp of an old snapshot is refused."""
    old_snapshot = repository.timestamp.snapshot_meta
    stolen(repository)
    assert device.releases() == [1, 2]
    new_snapshot = repository.timestamp.snapshot_meta
    repository.timestamp.snapshot_meta = old_snapshot
    repository.publish_timestamp()
    with refused(device, "rollback: metadata/timestamp.json: New snapshot version"):
        device.refresh()
    repository.timestamp.snapshot_meta = new_snapshot
    recovers(device, repository)


def test_rollback_of_the_targets_by_stolen_online_keys(device: Device, repository: Repository) -> None:
    """A new timestamp and snapshot of old targets are refused."""
    old_targets = repository.snapshot.meta["targets.json"]
    stolen(repository)
    assert device.releases() == [1, 2]
    new_targets = repository.snapshot.meta["targets.json"]
    repository.snapshot.meta["targets.json"] = old_targets
    repository.publish_snapshot()
    with refused(device, r"rollback: metadata/\d\.snapshot\.json: Expected targets\.json version"):
        device.refresh()
    repository.snapshot.meta["targets.json"] = new_targets
    recovers(device, repository)


def test_rollback_after_a_power_cut(device: Device, repository: Repository) -> None:
    """Zero-length local metadata, as a power cut leaves what was not synced, admits nothing older."""
    old = stolen(repository)
    assert device.releases() == [1, 2]
    honest = repository.files()
    put_back(old)
    device.lose_power()
    with refused(device, "rollback: timestamp has version 2; this device has seen 3"):
        device.refresh()
    shutil.rmtree(device.metadata)
    with refused(device, "rollback: timestamp has version 2; this device has seen 3"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_rollback_of_the_targets_after_a_power_cut(device: Device, repository: Repository) -> None:
    """Each role has its own floor."""
    old_targets = repository.snapshot.meta["targets.json"]
    stolen(repository)
    assert device.releases() == [1, 2]
    new_targets = repository.snapshot.meta["targets.json"]
    repository.snapshot.meta["targets.json"] = old_targets
    repository.publish_snapshot()
    device.lose_power()
    with refused(device, "rollback: targets has version 2; this device has seen 3"):
        device.refresh()
    repository.snapshot.meta["targets.json"] = new_targets
    recovers(device, repository)


@pytest.mark.parametrize("roles", [("timestamp",), ("root", "timestamp")])
def test_rollback_of_the_root_after_a_power_cut(device: Device, repository: Repository, roles: tuple[str, ...]) -> None:
    """A revoked key stays revoked after the local files are lost."""
    old = repository.files()
    repository.rotate(*roles)
    assert device.releases() == [1]
    honest = repository.files()
    put_back(old)
    repository.path("2.root").unlink()
    device.lose_power()
    with refused(device, "rollback: root has version 1; this device has seen 2"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_the_naive_client_falls_for_a_rollback_after_a_power_cut(device: Device, repository: Repository,
                                                                  server: Server, tmp_path: Path) -> None:
    """The attack is real: python-tuf alone accepts the old release as the newest."""
    def naive() -> Updater:
        updater = Updater(str(tmp_path / "naive"), f"{server.url}/metadata", bootstrap=repository.first_root)
        updater._trusted_set.reference_time = NOW
        updater.refresh()
        return updater

    old = stolen(repository)
    (tmp_path / "naive").mkdir()
    assert naive().get_targetinfo("2/street.tflite") is not None
    put_back(old)
    for path in (tmp_path / "naive").glob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")
    assert naive().get_targetinfo("2/street.tflite") is None


def test_freeze(device: Device, repository: Repository) -> None:
    """Repeated old metadata is refused once it has expired."""
    assert device.releases(NOW + 13 * DAY) == [1]
    with refused(device, r"expired: timestamp\.json is expired; the time on this device is 2026-12-05 12:00 UTC"):
        device.refresh(NOW + 14 * DAY)
    repository.now = NOW + 14 * DAY
    repository.publish()
    assert device.releases(NOW + 14 * DAY) == [1]


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_freeze_of_one_role(device: Device, repository: Repository, role: str) -> None:
    """A stolen timestamp key does not keep the others alive."""
    repository.now = NOW + 80 * DAY
    if role == "targets":
        repository.publish_snapshot()
    else:
        repository.publish_timestamp()
    with refused(device, rf"expired: (New )?{role}(\.json)? is expired"):
        device.refresh(NOW + 90 * DAY)
    repository.publish()
    assert device.releases(NOW + 90 * DAY) == [1]


def test_expired_root(device: Device, repository: Repository) -> None:
    """Metadata of an expired root is refused; a renewed root is accepted."""
    repository.now = NOW + 399 * DAY
    repository.publish()
    assert device.releases(NOW + 399 * DAY) == [1]
    with refused(device, r"expired: Final root\.json is expired"):
        device.refresh(NOW + 400 * DAY)
    repository.publish_root()
    assert device.releases(NOW + 400 * DAY) == [1]


def test_fast_forward_and_its_recovery(device: Device, repository: Repository) -> None:
    """Whoever stole a key raises the version to the end; only a root that takes the key away makes it mean nothing."""
    honest = repository.timestamp.version
    repository.timestamp.version = 2**31 - 2
    repository.publish_timestamp()
    assert device.releases() == [1]
    repository.timestamp.version = honest
    repository.publish_timestamp()
    with refused(device, "rollback: metadata/timestamp.json"):
        device.refresh()
    repository.rotate("timestamp")
    assert device.releases() == [1]
    assert device.floors["timestamp"].version == honest + 2
    recovers(device, repository)


def test_fast_forward_of_all_roles_and_its_recovery(device: Device, repository: Repository) -> None:
    """The recovery also works without the local files, and the new keys start a new floor for each role."""
    honest = {role: getattr(repository, role).version for role in ONLINE}
    for role in ONLINE:
        getattr(repository, role).version = 2**31 - 2
    repository.publish()
    assert device.releases() == [1]
    for role, version in honest.items():
        getattr(repository, role).version = version
    repository.rotate("snapshot", "timestamp")
    device.lose_power()
    with refused(device, f"rollback: targets has version 3; this device has seen {2**31 - 1}"):
        device.refresh()
    repository.rotate(*ONLINE)
    assert device.releases() == [1]
    assert {role: floor.version for role, floor in device.floors.items()} == {
        "root": 3, **{role: version + 2 for role, version in honest.items()}}
    recovers(device, repository)


def test_a_key_that_is_added_ends_no_floor(device: Device, repository: Repository) -> None:
    """The older key is still trusted, so its versions still count."""
    old = stolen(repository)
    assert device.releases() == [1, 2]
    repository.root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")
    repository.publish_root()
    honest = repository.files()
    put_back({path: content for path, content in old.items() if not path.name.endswith("root.json")})
    device.lose_power()
    with refused(device, "rollback: timestamp has version 2; this device has seen 3"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_mix_and_match_of_the_snapshot(device: Device, repository: Repository) -> None:
    """A timestamp and a snapshot that were never valid together are refused."""
    old = repository.path("2.snapshot").read_bytes()
    repository.add(2, MODEL + b"2")
    honest = repository.path("3.snapshot").read_bytes()
    repository.path("3.snapshot").write_bytes(old)
    with refused(device, r"mixed: metadata/3\.snapshot\.json"):
        device.refresh()
    repository.path("3.snapshot").write_bytes(honest)
    recovers(device, repository)


def test_mix_and_match_of_the_targets(device: Device, repository: Repository) -> None:
    """A snapshot and targets that were never valid together are refused."""
    old = repository.path("2.targets").read_bytes()
    repository.add(2, MODEL + b"2")
    honest = repository.path("3.targets").read_bytes()
    repository.path("3.targets").write_bytes(old)
    with refused(device, r"mixed: metadata/3\.targets\.json"):
        device.refresh()
    repository.path("3.targets").write_bytes(honest)
    recovers(device, repository)


def test_mix_and_match_of_roles(device: Device, repository: Repository) -> None:
    """Metadata of one role in place of another's is refused."""
    honest = repository.files()
    shutil.copyfile(repository.path("2.snapshot"), repository.path("timestamp"))
    with refused(device, r"invalid: metadata/timestamp\.json: Expected 'timestamp', got 'snapshot'"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_wrong_root(tmp_path: Path, repository: Repository) -> None:
    """A device with another root refuses everything of this repository."""
    other = Repository(tmp_path / "other")
    device = Device(tmp_path / "device", str(repository.folder), other.first_root)
    with refused(device, "unsigned: metadata/timestamp.json"):
        device.refresh()


def test_wrong_root_offered_as_the_next(device: Device, repository: Repository) -> None:
    """A new root is accepted only with the signatures of the old root's key and its own."""
    thief = CryptoSigner.generate_ed25519()
    forged = Root.from_dict(repository.root.to_dict())
    forged.version = 2
    forged.add_key(thief.public_key, "root")
    for signers in ((thief,), ()):
        repository.path("2.root").write_bytes(repository.sign(forged, *signers))
        with refused(device, r"unsigned: metadata/2\.root\.json"):
            device.refresh()
    forged.revoke_key(repository.signers["root"].public_key.keyid, "root")
    repository.path("2.root").write_bytes(repository.sign(forged, repository.signers["root"]))
    with refused(device, r"unsigned: metadata/2\.root\.json"):
        device.refresh()
    repository.path("2.root").unlink()
    recovers(device, repository)


def test_wrong_root_out_of_order(device: Device, repository: Repository) -> None:
    """A root that skips a version is refused."""
    repository.publish_root()
    honest = repository.path("2.root").read_bytes()
    repository.publish_root()
    shutil.copyfile(repository.path("3.root"), repository.path("2.root"))
    with refused(device, r"mixed: metadata/2\.root\.json: Expected root version 2"):
        device.refresh()
    repository.path("2.root").write_bytes(honest)
    recovers(device, repository)


@pytest.mark.parametrize("root", [b"", b"{}", b"<html>", b"\xff"])
def test_a_root_that_is_none(tmp_path: Path, repository: Repository, root: bytes) -> None:
    """Without a usable root nothing is trusted, not even earlier metadata."""
    device = Device(tmp_path / "device", str(repository.folder), repository.first_root)
    device.refresh()
    broken = Device(tmp_path / "again", str(repository.folder), root)
    shutil.copytree(device.metadata, broken.metadata)
    with refused(broken, r"invalid: update\.root"):
        broken.refresh()
    assert broken.source.known(NOW) == ()


def test_another_root_installed_is_another_trust(device: Device, tmp_path: Path) -> None:
    """An operator who lost the root key begins again, with versions from 1, and no floor stands in the way."""
    again = Repository(tmp_path / "again")
    again.add(1, MODEL)
    moved = Device(tmp_path / "moved", str(again.folder), again.first_root)
    shutil.copytree(device.metadata, moved.metadata)
    moved.floors = {role: floor.model_copy(update={"version": 50}) for role, floor in device.floors.items()}
    assert moved.releases() == [1]
    assert moved.floors["root"].version == 1


def test_endless_metadata(device: Device, repository: Repository) -> None:
    """No more bytes are read than metadata may have."""
    honest = repository.files()
    repository.path("timestamp").write_bytes(bytes(1 << 20))
    with refused(device, r"too long: .*/metadata/timestamp\.json"):
        device.refresh()
    repository.path("timestamp").write_bytes(bytes(6_000_000))
    with refused(device, "too long: "):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_endless_target(device: Device, repository: Repository) -> None:
    """No more bytes are written than the signed length."""
    target = device.refresh().targets[0]
    place = next((repository.folder / "targets/1").iterdir())
    place.write_bytes(MODEL + b"1" + bytes(1 << 20))
    with refused(device, "too long: "):
        device.download(target)
    assert sum(path.stat().st_size for path in device.incoming.iterdir()) <= target.length
    place.write_bytes(MODEL + b"1")
    assert device.download(target) == MODEL + b"1"


def test_endless_data_without_a_length(repository: Repository, server: Server, tmp_path: Path) -> None:
    """The connection to a server that sends without end is closed at once."""
    device = Device(tmp_path / "device", server.url, repository.first_root)
    target = device.refresh().targets[0]
    hung_up = Event()

    def endlessly(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            hung_up.set()

    server.answers["/metadata/timestamp.json"] = endlessly
    server.answers[f"/targets/1/{target.sha256}.street.tflite"] = endlessly
    for ask in (device.refresh, lambda: device.download(target)):
        with pytest.raises(UpdateRefused, match=r"^too long: ") as caught:
            ask()
        assert hung_up.wait(60), caught      # while the error is still held
        hung_up.clear()
    assert sum(path.stat().st_size for path in device.incoming.iterdir()) <= target.length
    server.answers.clear()
    recovers(device, repository)


@pytest.mark.slow
def test_slow_retrieval(repository: Repository, server: Server, tmp_path: Path) -> None:
    """A server that drips gets no more than the deadline, for all requests together."""
    device = Device(tmp_path / "device", server.url, repository.first_root, deadline_s=1.0)
    target = device.refresh().targets[0]
    done = Event()

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(target.length))
        handler.end_headers()
        try:
            while not done.wait(0.05):
                handler.wfile.write(b"a")
        except OSError:
            return

    kept = device.kept()
    server.answers["/metadata/timestamp.json"] = dripping
    server.answers[f"/targets/1/{target.sha256}.street.tflite"] = dripping
    try:
        with pytest.raises(UpdateUnreachable, match="no response in time"):
            device.refresh()
        with pytest.raises(UpdateUnreachable, match="no response in time"):
            device.download(target, deadline_s=1.0)
    finally:
        done.set()
    assert device.kept() == kept
    server.answers.clear()
    recovers(device, repository)


@pytest.mark.parametrize("role", ONLINE)
def test_key_compromise_and_rotation(device: Device, repository: Repository, role: str) -> None:
    """A stolen key signs what it can, until a root takes it away; from then on nothing it signs is believed."""
    thief = repository.signers[role]
    repository.rotate(role)
    assert device.releases() == [1]
    honest, signer = repository.files(), repository.signers[role]
    repository.signers[role] = thief
    repository.add(3, b"arbitrary software")
    with refused(device, rf"unsigned: metadata/(\d\.)?{role}\.json"):
        device.refresh()
    device.lose_power()
    with refused(device, rf"unsigned: metadata/(\d\.)?{role}\.json"):
        device.refresh()
    put_back(honest)
    repository.signers[role] = signer
    repository.targets.targets.pop("3/street.tflite")
    recovers(device, repository)


def test_key_compromise_of_the_root_and_rotation(device: Device, repository: Repository) -> None:
    """The next root takes the stolen root key away; what it signs afterwards is no root."""
    thief = repository.signers["root"]
    repository.rotate("root")
    assert device.releases() == [1]
    forged = Root.from_dict(repository.root.to_dict())
    forged.version = 3
    repository.path("3.root").write_bytes(repository.sign(forged, thief))
    with refused(device, r"unsigned: metadata/3\.root\.json"):
        device.refresh()
    repository.path("3.root").unlink()
    recovers(device, repository)


def test_a_threshold_needs_as_many_keys(device: Device, repository: Repository) -> None:
    """Two signatures by the same key count as one."""
    repository.root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")
    repository.root.roles["timestamp"].threshold = 2
    repository.publish_root()
    with refused(device, r"unsigned: metadata/timestamp\.json: timestamp was signed by 1/2 keys"):
        device.refresh()


def test_extraneous_files_are_not_offered(device: Device, repository: Repository) -> None:
    """A file on the server that no metadata names is not offered."""
    place = repository.folder / "targets" / "3"
    place.mkdir()
    (place / "street.tflite").write_bytes(b"extraneous")
    assert device.releases() == [1]


def test_withdrawn_release_is_gone(device: Device, repository: Repository) -> None:
    """A withdrawn release is not trusted, also not for an operator's bundle, even if its file is still there."""
    second = repository.add(2, MODEL + b"2")
    assert device.releases() == [1, 2]
    assert second in device.source.known(NOW)
    repository.withdraw(second)
    assert device.releases() == [1]
    assert second not in device.source.known(NOW)


def test_a_target_that_leads_elsewhere_is_passed_over(device: Device, repository: Repository) -> None:
    """A path of a stolen key reaches nothing outside the repository; the others are still offered."""
    sound = repository.targets.targets["1/street.tflite"]
    for path in ("../../etc/passwd", "/etc/passwd", "a/../../b", ""):
        repository.targets.targets[path] = sound
    repository.publish()
    assert [target.path for target in device.refresh().targets] == ["1/street.tflite"]


def test_a_target_of_another_kind_is_passed_over(device: Device, repository: Repository) -> None:
    """Without our metadata, with metadata of a later version that we cannot read, without SHA-256."""
    sound = repository.targets.targets["1/street.tflite"].to_dict()
    custom = sound["custom"]
    wrong: dict[str, dict[str, object]] = {
        "a": {"custom": None}, "b": {"custom": {**custom, "release": "new"}},
        "c": {"hashes": {"sha512": "0" * 128}}, "d": {"custom": {**custom, "later": 1}}}
    for path, changes in wrong.items():
        repository.targets.targets[path] = TargetFile.from_dict({**sound, **changes}, path)
    repository.publish()
    assert sorted(target.path for target in device.refresh().targets) == ["1/street.tflite", "d"]


def test_html_instead_of_metadata(repository: Repository, server: Server, tmp_path: Path) -> None:
    """A login page with status 200, for one file or for every."""
    device = Device(tmp_path / "device", server.url, repository.first_root)
    device.refresh()
    page = b"<html>Please log in to the guest network</html>"
    server.answers["/metadata/timestamp.json"] = lambda handler: send(handler, page)
    with refused(device, r"invalid: metadata/timestamp\.json"):
        device.refresh()
    server.answers["/metadata/2.root.json"] = lambda handler: send(handler, page)
    with refused(device, r"invalid: metadata/2\.root\.json"):
        device.refresh()
    server.answers.clear()
    recovers(device, repository)


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 10_000, b'{"signed": 1}', b"\x00" * 100, b"9" * 10_000],
                         ids=["empty", "null", "deep", "shape", "zeros", "number"])
def test_garbage_instead_of_metadata(device: Device, repository: Repository, content: bytes) -> None:
    """Every malformed answer ends in a refusal with a message."""
    honest = repository.files()
    repository.path("timestamp").write_bytes(content)
    with refused(device, r"invalid: metadata/timestamp\.json"):
        device.refresh()
    put_back(honest)
    recovers(device, repository)


def test_a_clock_that_was_never_set_refuses_nothing_for_its_age(device: Device, repository: Repository) -> None:
    """Expiry is not checked; everything else is."""
    with refused(device, "expired: "):
        device.refresh(NOW + 1000 * DAY)
    repository.now = NOW - 1000 * DAY
    repository.publish()
    assert device.releases(None) == [1]
    honest = repository.files()
    repository.signers["timestamp"] = CryptoSigner.generate_ed25519()
    repository.publish_timestamp()
    with refused(device, "unsigned: "):
        device.refresh(None)
    put_back(honest)


def test_a_clock_that_was_set_back_does_not_thaw(device: Device) -> None:
    """Expiry is checked with the caller's time, not with this machine's clock."""
    with refused(device, "expired: "):
        device.refresh(NOW + 14 * DAY)
    with refused(device, "expired: "):
        device.source.known(NOW + 14 * DAY)
    assert device.releases(NOW) == [1]


def test_slices_of_a_forged_chain(device: Device, repository: Repository) -> None:
    """A snapshot that names no targets, as from a stolen snapshot key, is refused."""
    honest = repository.files()
    empty = Snapshot(version=repository.snapshot.version + 1, expires=NOW + DAY, meta={})
    content = repository.sign(empty, repository.signers["snapshot"])
    repository.path(f"{empty.version}.snapshot").write_bytes(content)
    timestamp = Timestamp(version=repository.timestamp.version + 1, expires=NOW + DAY,
                          snapshot_meta=MetaFile.from_data(empty.version, content, ["sha256"]))
    repository.path("timestamp").write_bytes(repository.sign(timestamp, repository.signers["timestamp"]))
    with refused(device, r"invalid: metadata/3\.snapshot\.json: New snapshot is missing info"):
        device.refresh()
    put_back(honest)
    repository.path("3.snapshot").unlink()
    recovers(device, repository)
