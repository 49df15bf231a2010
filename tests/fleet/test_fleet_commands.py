"""`vedette fleet …` as people and programs call it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon.running import environment
from tests.support.models import bundles, tiny_detectors
from tests.support.network.operators import NOW, Operator
from vedette.cli import main
from vedette.cli.fleet.arguments import describe
from vedette.store.release import Release

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.pack(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert call("init", tmp_path / "fleet") == 0
    capsys.readouterr()
    return tmp_path / "fleet"


def call(*arguments: object) -> int:
    return main(["fleet", *map(str, arguments)])


def test_init_says_what_to_do_and_never_does_it_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints expiries, where to keep root's key, and what devices need; a second call ends with 65, unchanged."""
    assert call("init", tmp_path / "fleet", "--days", "timestamp=30") == 0
    told = capsys.readouterr().out
    for words in ("root-*.pem off this machine", "fleet/root.json", "in 29 days", "in 399 days"):
        assert words in told
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert call("init", tmp_path / "fleet") == 65
    assert "a fleet exists there" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "words"), [
    (("--days", "root=0"), "DAYS, 1 to 3650"), (("--days", "leaf=3"), "root|targets"),
    (("--root-threshold", "2"), "2 of 1 root keys")])
def test_init_called_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...],
                             words: str) -> None:
    """It ends with 64 and creates no folder."""
    assert call("init", tmp_path / "fleet", *arguments) == 64
    assert words in capsys.readouterr().err
    assert not (tmp_path / "fleet").exists()


def test_a_bundle_is_added_and_released(fleet: Path, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, version, digest or file; with --json the output is JSON; a warning goes to standard error."""
    assert call("add", fleet, sound, "--json") == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["name"], added["version"], added["proven"]) == ("garden", "7", True)
    for number, asked in enumerate(("garden", "garden:7", added["sha256"][:8], sound), 1):
        assert call("release", fleet, asked, "--json", "--buckets", "0-99", "--class", "default,yard",
                    "--salt", "common", "--shadow", "frames=7,publish=true", "--trial", "minutes=0.5") == 0
        release = json.loads(capsys.readouterr().out)
        assert (release["release"], release["buckets"], release["device_classes"]) == (number, [0, 99],
                                                                                     ["default", "yard"])
        shadow, trial = release["shadow"], release["trial"]
        assert (shadow["frames"], shadow["publish"], trial["minutes"]) == (7, True, 0.5)
    assert call("release", fleet, "--release", "1", "--variant", "a", "--no-shadow") == 0
    told = capsys.readouterr()
    assert "release 1: garden 7 to default, yard on stable, buckets 0-99 (1%), variant a" in told.out
    assert told.err.startswith("warning: buckets 0-99 stay with release")
    assert call("status", fleet, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["releases"][-1]["variant"], status["releases"][-1]["shadow"]) == ("a", None)
    assert status["expiring"] == []


def test_each_release_has_a_salt_of_its_own(fleet: Path, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Variants share the fleet's; a change of a release keeps its salt; --salt and --tags say otherwise."""
    assert call("add", fleet, sound) == 0
    capsys.readouterr()

    def released(*arguments: str) -> dict[str, Any]:
        assert call("release", fleet, *arguments, "--json") == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    common = json.loads((fleet / "fleet.json").read_text())["salt"]
    salts = [released("garden", *more)["salt"] for more in (
        (), (), ("--variant", "a"), ("--salt", "common"), ("--salt", "fresh", "--variant", "b"), ("--salt", "north"))]
    assert len({common, *salts}) == 5
    assert (salts[2:4], salts[5]) == ([common, common], "north")
    changed = released("--release", "1", "--variant", "a", "--tags", "indoor,south")
    assert (changed["salt"], changed["tags"]) == (salts[0], ["indoor", "south"])
    assert call("release", fleet, "--release", "1", "--salt", "common") == 0
    assert "on stable, tags indoor, south, buckets 0-9999 (100%), variant a" in capsys.readouterr().out
    changed = released("--release", "1", "--tags", "")
    assert (changed["salt"], changed["tags"]) == (common, [])


def test_a_release_as_a_line() -> None:
    """A configuration is called one, and a single bucket has a share."""
    release = Release(kind="configuration", name="night", version="2", release=9, device_classes=("default", "yard"),
                      channel="canary", buckets=(7, 7), salt="")
    assert describe(release) == ("release 9: configuration night 2 to default, yard on canary, "
                                 "buckets 7-7 (0.01%)")


@pytest.mark.parametrize("arguments", [
    ("--buckets", "5-2"), ("--buckets", "0-10000"), ("--buckets", "half"), ("--trial", "frames"), ("--release", "0"),
    ("--tags", "a,,b"),
    ("--shadow", "framez=3"), ("--shadow", "frames=3", "--no-shadow"), ("--trial", "frames=many")])
def test_a_release_called_wrongly(fleet: Path, sound: Path, arguments: tuple[str, ...]) -> None:
    """It ends with 64 before anything is signed."""
    assert call("add", fleet, sound) == 0
    assert call("release", fleet, "garden", *arguments) == 64
    assert call("status", fleet) == 0


def test_a_bad_bundle_is_not_added(fleet: Path, sound: Path, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged, wrong or missing model ends with 65 and names the failed check; --allow-unproven does not help."""
    damaged = tmp_path / "damaged.tflite"
    content = bytearray(sound.read_bytes())
    content[200] ^= 255
    damaged.write_bytes(content)
    page = tmp_path / "page.tflite"
    page.write_text("<html>404</html>")
    for path, words in ((damaged, "digest"), (bundles.altered(sound, color="bgr"), "golden frames"),
                        (page, "digest"), (tmp_path / "none", "digest")):
        assert call("add", fleet, path, "--allow-unproven") == 65
        assert f"{path}: {words}" in capsys.readouterr().err
    assert not (fleet / "bundles").exists()


def test_a_model_without_golden_frames_needs_a_flag(fleet: Path, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 65 without --allow-unproven and 64 without a version; with both, the bundle is marked."""
    plain = tiny_detectors.write(tmp_path)
    assert call("add", fleet, plain) == 65
    assert "--allow-unproven" in capsys.readouterr().err
    assert call("add", fleet, plain, "--allow-unproven") == 64
    assert call("add", fleet, plain, "--allow-unproven", "--version", "1", "--name", "yard") == 0
    assert "unproven" in capsys.readouterr().out
    assert call("release", fleet, "yard") == 0
    assert "warning: unproven" in capsys.readouterr().err
    assert call("withdraw", fleet, "1") == 0
    assert call("status", fleet) == 0
    assert "not released: yard:1" in capsys.readouterr().out


def test_a_passphrase_comes_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line counts; a missing, wrong or empty one ends with 69."""
    secret, wrong, empty = (tmp_path / name for name in ("secret", "wrong", "empty"))
    secret.write_text("correct horse\n")
    wrong.write_text("battery\n")
    empty.write_text("\n")
    assert call("init", tmp_path / "fleet", "--passphrase-file", secret) == 0
    assert call("renew", tmp_path / "fleet", "--passphrase-file", secret) == 0
    capsys.readouterr()
    for given, words in ((("--passphrase-file", wrong), "passphrase is wrong"), ((), "--passphrase-file"),
                         (("--passphrase-file", empty), "empty"), (("--passphrase-file", tmp_path), "cannot be read")):
        assert call("renew", tmp_path / "fleet", *given) == 69
        assert words in capsys.readouterr().err


def test_keys_may_lie_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`init --keys` is saved; `--keys` overrides it; the message names a missing key and its expected path."""
    assert call("init", tmp_path / "fleet", "--keys", tmp_path / "stick") == 0
    assert not (tmp_path / "fleet/keys").exists()
    assert call("renew", tmp_path / "fleet") == 0
    (tmp_path / "stick").rename(tmp_path / "other")
    assert call("renew", tmp_path / "fleet") == 69
    assert f"{tmp_path}/stick/timestamp-" in capsys.readouterr().err
    assert call("renew", tmp_path / "fleet", "--keys", tmp_path / "other") == 0


def test_status_tells_a_monitor(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1 if something expires soon, else 0."""
    assert call("status", fleet, "--within", "15") == 1
    told = capsys.readouterr().out
    assert "nothing is released" in told
    assert told.index("timestamp") < told.index("root")
    assert call("status", fleet) == 0


def test_status_of_what_has_expired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output says so, and the exit code is 1 for any --within."""
    operator = Operator(tmp_path, now=NOW - timedelta(days=2), timestamp=1)
    assert call("status", operator.folder, "--within", "0") == 1
    assert "EXPIRED" in capsys.readouterr().out


def test_a_missing_part_is_named(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing fleet, release or role: the message says which one."""
    assert call("status", tmp_path) == 65
    assert "vedette fleet init" in capsys.readouterr().err
    assert call("withdraw", fleet, "7") == 65
    assert call("release", fleet, "yard") == 65
    assert call("rotate-keys", fleet, "leaf") == 64
    assert not (tmp_path / "lock").exists()


def test_several_roles_get_new_keys_at_once(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named with the key that it had."""
    assert call("rotate-keys", fleet, "timestamp", "targets") == 0
    said = capsys.readouterr().out
    assert "timestamp: new keys" in said
    assert "targets: new keys" in said
    assert said.count("until their next poll") == 2
    assert len(list((fleet / "keys").glob("t*-*.pem"))) == 4


def test_renewing_names_the_role_whose_key_is_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cron then goes on with the others."""
    operator = Operator(tmp_path, now=NOW - timedelta(days=6), targets=10, snapshot=10)
    operator.key_file("targets").rename(tmp_path / "stick")
    assert call("renew", operator.folder) == 0
    said = capsys.readouterr().out
    assert "renewed: snapshot, timestamp\nnot renewed, since its key is not here: targets\n" in said


@pytest.mark.slow
def test_without_cryptography_the_extra_is_named(tmp_path: Path) -> None:
    """Creating keys needs it; reading a fleet and publishing do not."""
    block = "import sys; sys.modules['cryptography'] = None; from vedette.cli import main; sys.exit(main(sys.argv[1:]))"

    def without(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", block, "fleet", *map(str, arguments)], capture_output=True,
                              text=True, env=environment(tmp_path), timeout=240)

    refused = without("init", tmp_path / "fleet")
    assert (refused.returncode, "vedette[fleet]" in refused.stderr) == (69, True), refused.stderr
    assert call("init", tmp_path / "real") == 0
    assert without("status", tmp_path / "real").returncode == 0
    published = without("publish", tmp_path / "real", tmp_path / "www")
    assert (published.returncode, published.stderr) == (0, "")
    assert (tmp_path / "www/metadata/timestamp.json").exists()
