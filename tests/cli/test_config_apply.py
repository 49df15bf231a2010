"""`vedette config apply` as people call it: what it writes, what it refuses, and what is left when it is killed."""

from __future__ import annotations

import os
import signal
import stat
import sys
import warnings
from pathlib import Path

import pytest

from tests.support.daemon.as_nobody import NOBODY, as_nobody
from vedette.cli import main
from vedette.config.load import load
from vedette.config.models import Config

CONFIG = """\
# The gate.
camera: {fps: 5}
detector:
  score_threshold: 0.4   # dark
mqtt: {username: gate, password_file: mqtt_password}
"""
CHANGES = "detector: {score_threshold: 0.6}\nzones: {drive: {points: [[0, 0], [1, 0], [1, 1]]}}\n"
CHANGED = CONFIG.replace("0.4", "0.6") + "zones:\n  drive: {points: [[0, 0], [1, 0], [1, 1]]}\n"


class Folder:
    """A configuration and a file with changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.config.write_text(CONFIG)
        self.changes = path / "changes.yaml"

    def apply(self, changes: str = CHANGES) -> int:
        self.changes.write_text(changes)
        return main(["config", "apply", str(self.changes), "--config", str(self.config)])

    @property
    def kept(self) -> Path:
        return self.path / "config.yaml.bak"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_keys_replace_those_of_the_configuration(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest stays as it is, also its comments. The old file is beside. It prints what changes, and what is next."""
    assert folder.apply() == 0
    assert (folder.config.read_text(), folder.kept.read_text()) == (CHANGED, CONFIG)
    assert capsys.readouterr().out.splitlines() == [
        "detector.score_threshold: 0.4 -> 0.6",
        "zones: default -> {drive: {points: [[0, 0], [1, 0], [1, 1]]}}",
        f"written: {folder.config}", f"kept: {folder.kept}", "next: send SIGHUP to the daemon"]
    assert folder.apply() == 0
    assert capsys.readouterr().out == f"nothing to change: {folder.config} has these values already\n"
    assert folder.kept.read_text() == CONFIG


def test_a_key_that_is_signed_as_well_is_named(folder: Folder, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """The file gets the new value, and whoever waits for its effect knows why there is none."""
    monkeypatch.setenv("STATE_DIRECTORY", str(folder.path))
    (folder.path / "root.json").write_text("{}")
    folder.config.write_text(f"update: {{source: {folder.path}, root: root.json}}\n")
    (folder.path / "configuration.json").write_text(
        '{"active": {"values": {"detector": {"score_threshold": 0.7}}, "release": 7, "version": "night"}}')
    assert folder.apply() == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "effect" in line] == [
        "detector.score_threshold: has no effect now, since signed configuration 7 wins (update.configuration)"]


def test_a_key_that_needs_a_restart_is_named(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """A reload would not apply it."""
    assert folder.apply("camera: {masks: [[[0, 0], [1, 0], [1, 1]]]}\ndetector: {deny: [car]}\n") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: restart the daemon, because of camera.masks"


@pytest.mark.parametrize(("changes", "said"), [
    ("detector:\n  deny: []\n  score_threshold: 6\n",
     "changes.yaml:3: detector.score_threshold: expected a number less than or equal to 1, saw 6 "),
    ("detector: {}\nzone: {}\n", "changes.yaml:2: zone: unknown key; did you mean zones?"),
    ("zones:\n  drive:\n    points: [[0, 0], [1, 1]]\n", "changes.yaml:3: zones.drive.points: expected more items"),
    ("camera: {fps: 5\n", "changes.yaml:2: not valid YAML"), ("- 1\n", "expected keys and values at the top level"),
    ("camera: {source: /nowhere}\n", "changes.yaml:1: camera.source: "),
    ("mqtt: {password_file: hidden}\n", "changes.yaml:1: mqtt.password_file: "),
    ("mqtt: {username: null}\n", "mqtt: expected username beside password_file"),
    ("update: {source: 'https://a:hunter2@b/'}\n", "changes.yaml:1: update.source: a password inside a URL"),
])
def test_a_result_that_is_wrong_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str], changes: str,
                                           said: str) -> None:
    """The message has the file and the line of the mistake. Nothing is written."""
    assert folder.apply(changes) == 78
    out, err = capsys.readouterr()
    assert said in err
    assert "hunter2" not in err
    assert (out, folder.config.read_text(), folder.kept.exists()) == ("", CONFIG, False)


def test_a_mistake_of_the_configuration_is_named_with_its_own_line(folder: Folder,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    """It is checked as a whole; a change may also be the cure."""
    folder.config.write_text("camera:\n  fps: 0\n")
    assert folder.apply() == 78
    assert f"{folder.config}:2: camera.fps: expected a number greater than 0" in capsys.readouterr().err
    assert folder.apply("camera: {fps: 4}") == 0
    assert load(folder.config, environ={}) == Config.model_validate({"camera": {"fps": 4}})


def test_files_that_cannot_be_read(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """No such file, and a folder in its place, are named."""
    for file, config in ((folder.path / "none", folder.config), (folder.config, folder.path / "none"),
                         (folder.path, folder.config)):
        assert main(["config", "apply", str(file), "--config", str(config)]) == 78
        missing = config if "none" in config.name else file
        assert f"vedette: {missing}: " in capsys.readouterr().err


def test_owner_group_and_mode_stay(folder: Folder) -> None:
    """Also those of a link's target, which stays a link."""
    owner = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    real = folder.path / "real.yaml"
    folder.config.rename(real)
    folder.config.symlink_to(real)
    os.chown(real, *owner)
    real.chmod(0o664)
    assert folder.apply() == 0
    assert folder.config.is_symlink()
    for path in (real, folder.path / "real.yaml.bak"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o664)
    assert real.read_text() == CHANGED


def test_without_rights_nothing_is_written(folder: Folder) -> None:
    """The message says who may."""
    for path in (folder.path, *folder.path.parents):
        if path.name.startswith("pytest"):
            path.chmod(0o755)
    folder.changes.write_text(CHANGES)
    folder.path.chmod(0o555)
    log = folder.path.parent / f"{folder.path.name}.log"
    log.touch(0o666)
    log.chmod(0o666)

    def call() -> int:
        with log.open("w") as file:
            sys.stderr = file
            return main(["config", "apply", str(folder.changes), "--config", str(folder.config)])
    try:
        assert as_nobody(call) == 69
    finally:
        folder.path.chmod(0o755)
    assert "Permission denied; only root may change it: use sudo" in log.read_text()
    assert (folder.config.read_text(), folder.kept.exists()) == (CONFIG, False)


def killed_at(folder: Folder, step: int) -> bool:
    """Apply in a child that SIGKILL ends before its file operation `step`; returns whether it came so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        left = [step]

        def count(event: str, arguments: tuple[object, ...]) -> None:
            if event in ("open", "os.rename", "os.remove") and str(folder.path) in str(arguments):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(["config", "apply", str(folder.changes), "--config", str(folder.config)]))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_sigkill_leaves_the_old_file_or_the_new_one(folder: Folder) -> None:
    """Whole, at whatever step; and where it is the new one, the old one is beside. The next try succeeds."""
    folder.changes.write_text(CHANGES)
    seen, step = [], 0
    while killed_at(folder, step):
        seen.append(folder.config.read_text())
        assert seen[-1] in (CONFIG, CHANGED)
        assert not folder.kept.exists() or folder.kept.read_text() == CONFIG
        assert folder.kept.exists() or seen[-1] == CONFIG
        folder.config.write_text(CONFIG)
        folder.kept.unlink(missing_ok=True)
        step += 1
    assert {CONFIG, CHANGED} == set(seen)
    assert (folder.config.read_text(), folder.kept.read_text()) == (CHANGED, CONFIG)
