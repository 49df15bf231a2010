"""`vedette collect`: the owner of a device copies its pictures out, or deletes them, while it runs."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until
from vedette.cli import main
from vedette.workshop.collection import FILE_TIME_S, FOLDER, RECORD

NAMES = [f"{digit * 32}.png" for digit in "abc"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with three pictures, half of one, and a link that pretends to be one."""
    folder = tmp_path / "state" / FOLDER
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    (folder / f".{NAMES[0]}.7.tmp").write_bytes(b"half")
    (tmp_path / "secret").write_text("secret")
    (folder / f"{'d' * 32}.png").symlink_to(tmp_path / "secret")
    return tmp_path / "state"


def test_fetch_copies_whole_pictures_alone(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a new folder or one that is there, as often as wanted. The copies tell no time either."""
    target = tmp_path / "pictures"
    for _ in range(2):
        assert main(["collect", "fetch", str(target), "--state", str(state)]) == 0
        assert capsys.readouterr().out == f"{target}: 3 pictures, 0.0 MB\n"
        assert {path.name: path.read_bytes() for path in target.iterdir()} == {name: name.encode() for name in NAMES}
    assert {path.stat().st_mtime for path in target.iterdir()} == {FILE_TIME_S}
    assert main(["collect", "fetch", str(target), "--state", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"{target}: 0 pictures, 0.0 MB\n"


def test_clear_deletes_pictures_alone(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice is as good as once. No link is followed."""
    for count in (3, 0):
        assert main(["collect", "clear", "--state", str(state)]) == 0
        assert capsys.readouterr().out == f"{count} pictures deleted\n"
    assert (state.parent / "secret").read_text() == "secret"


def test_whoever_may_not_gets_an_answer(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A closed state folder, and a target that is no folder."""
    (tmp_path / "file").write_text("")
    assert main(["collect", "fetch", str(tmp_path / "file" / "x"), "--state", str(state)]) == 64
    (state / FOLDER).chmod(0o700)
    tmp_path.chmod(0o755)
    for command in (["fetch", str(tmp_path / "copies")], ["clear"]):
        assert as_nobody(partial(main, ["collect", *command, "--state", str(state)])) == (
            69 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        give_away(state)
        assert main(["collect", "fetch", str(tmp_path / "copies"), "--state", str(state)]) == 0
    capsys.readouterr()


def published(seen: Subscriber, key: str) -> Any:
    return (seen.health.get("collect") or {}).get(key)


@pytest.mark.daemon
def test_a_device_collects_through_kill_and_clear(broker: Mosquitto, tmp_path: Path) -> None:
    """SIGKILL leaves whole pictures, and the next run goes on. The owner fetches and clears, commands are obeyed."""
    path = write_config(tmp_path, broker.port, collect="{enabled: true, frames: 6, hours: 0.0008}",
                        commands="{allow: [collect]}")
    folder, record = tmp_path / "state" / FOLDER, tmp_path / "state" / RECORD

    def pictures() -> set[str]:
        return {found.name for found in folder.glob("*.png")}

    def asked(what: str) -> Any:
        before = len(seen.published("reply/collect"))
        send(broker.client(), f"vedette/{DEVICE}/cmd/collect", json.dumps({"what": what}).encode())
        assert wait_until(lambda: len(seen.published("reply/collect")) > before), seen.topics()
        return seen.published("reply/collect")[-1]["status"]

    with listening(broker.client(), "vedette/#") as seen:
        with RunningDaemon(tmp_path, "--config", path) as daemon:
            assert wait_until(lambda: len(pictures()) >= 2), daemon.log
            daemon.signal(signal.SIGKILL)
            daemon.ends()
        left = pictures() & {each["name"] for each in json.loads(record.read_text())["pictures"]}
        with RunningDaemon(tmp_path, "--config", path) as daemon:
            assert wait_until(lambda: published(seen, "state") == "complete"), daemon.log
            assert published(seen, "pictures") == len(pictures()) >= len(left) >= 1
            assert main(["collect", "fetch", str(tmp_path / "fetched"), "--state", str(tmp_path / "state")]) == 0
            copies = list((tmp_path / "fetched").iterdir())
            assert {copy.name for copy in copies} == pictures()
            assert all(cv2.imread(str(copy)) is not None for copy in copies)
            assert asked("stop") == "ok"
            assert main(["collect", "clear", "--state", str(tmp_path / "state")]) == 0
            assert wait_until(lambda: (published(seen, "state"), published(seen, "pictures")) == ("stopped", 0))
            assert asked("start") == "ok"
            assert wait_until(pictures), daemon.log
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0, daemon.log
