"""`vedette fleet roll` and `approve` on a real broker: killed at any moment, refused in time, and printed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.fleet.test_roll_desk import Office
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.rolled_devices import RolledDevices
from tests.support.daemon.running import environment
from tests.support.waiting.until import wait_until
from vedette.cli import main
from vedette.fleet.rolls import FOLDER

DEVICES = [f"gate-{number}" for number in range(5)]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as broker:
        yield broker


@contextmanager
def alive(office: Office, broker: Mosquitto, ends: dict[str, str] | None = None) -> Iterator[RolledDevices]:
    """Devices that ask for releases and publish all the time."""
    devices = RolledDevices(broker.client(), office.served, {**dict.fromkeys(DEVICES, "good"), **(ends or {})})
    devices.connect()
    stopping = threading.Event()

    def live() -> None:
        while not stopping.wait(0.1):
            devices.live()
    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield devices
    finally:
        stopping.set()
        thread.join()
        devices.close()


def command(office: Office, broker: Mosquitto, *more: str) -> list[str]:
    return ["fleet", "roll", str(office.fleet), "street:4", str(office.served), "--host", "127.0.0.1", "--port",
            str(broker.port), "--soak", "0s", "--silent-after", "8s", "--max-failed", "20%", *more]


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_were_not(office: Office, broker: Mosquitto, tmp_path: Path) -> None:
    """Each step is signed once, whatever was cut: signing, publishing, or waiting."""
    arguments = command(office, broker, "--steps", "60,100", "--min", "1", "--silent-after", "5s")
    chance = random.Random(15)
    with alive(office, broker):
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-m", "vedette", *arguments], env=environment(tmp_path),
                                     stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            lines = chance.randint(2, 7)
            for _ in zip(range(lines), child.stdout, strict=False):
                pass
            threading.Event().wait(chance.random() / 5)
            child.kill()
            child.wait(60)
            child.stdout.close()
        assert main(arguments) == 0
    releases = office.released()
    assert set(releases) == {1}
    assert releases[1].buckets == (0, 9999)
    log = (office.fleet / FOLDER / "1.log").read_text()
    assert log.count("begins with street 4") <= 1


@pytest.mark.slow
def test_json_for_programs_and_metrics_for_prometheus(office: Office, broker: Mosquitto, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    """One object per line; the last one says how it ended, and so does the file."""
    arguments = command(office, broker, "--steps", "100", "--silent-after", "20s", "--json",
                        "--metrics", str(tmp_path / "roll.prom"))
    with alive(office, broker, {"gate-3": "blind"}):
        assert main(arguments) == 65
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == {"known": "known devices: 5, of which 5 match"}
    counts = {"release": 1, "state": "stopped", "step": 1, "share": 1.0, "expected": 5, "trial": 0,
              "failed": {"blind": 1}, "silent": 0}
    assert printed[-1].items() >= counts.items()
    assert 'vedette_rollout_failed{release="1",code="blind"} 1' in (tmp_path / "roll.prom").read_text()
    assert 'state="stopped"} 1' in (tmp_path / "roll.prom").read_text()
    assert office.released() == {}
    assert main(arguments) == 65
    assert "--again begins anew" in capsys.readouterr().out
    assert office.released() == {}


@pytest.mark.slow
def test_a_yes_is_typed_at_a_terminal(office: Office, broker: Mosquitto, tmp_path: Path) -> None:
    """The last line shows the newest counts; the question stands above it."""
    arguments = command(office, broker, "--steps", "40,100", "--salt", "x", "--silent-after", "3s", "--approve")
    master, slave = pty.openpty()
    with alive(office, broker):
        child = subprocess.Popen([sys.executable, "-m", "vedette", *arguments], env=environment(tmp_path),
                                 stdin=slave, stdout=slave)
        os.close(slave)
        os.set_blocking(master, False)
        shown = ""

        def shows(words: str) -> bool:
            nonlocal shown
            with contextlib.suppress(OSError):
                shown += os.read(master, 65536).decode()
            return words in shown
        try:
            assert wait_until(partial(shows, "waits for a yes")), shown[-2000:]
            asked = office.released()[1].buckets[1]
            os.write(master, b"yes\n")
            assert wait_until(partial(shows, "goes on: ")), shown[-2000:]
        finally:
            child.kill()
            child.wait(240)
            os.close(master)
    assert shown.count("\x1b[Kstep 1 (") < 20
    assert office.released()[1].buckets[1] > asked


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_it(office: Office, broker: Mosquitto, tmp_path: Path) -> None:
    """As in `| head -1`: it stops the bad release all the same, and its exit code says so."""
    arguments = command(office, broker, "--steps", "100", "--silent-after", "20s")
    with alive(office, broker, {"gate-3": "blind"}):
        child = subprocess.Popen([sys.executable, "-m", "vedette", *arguments], env=environment(tmp_path),
                                 stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(240) == 65
    assert office.released() == {}


@pytest.mark.slow
def test_nothing_is_signed_where_nobody_can_report(office: Office, broker: Mosquitto,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    """An empty broker, devices of another class, and names that nobody has."""
    assert main(command(office, broker)) == 65
    assert "no device can report" in capsys.readouterr().err
    devices = RolledDevices(broker.client(), office.served, dict.fromkeys(DEVICES, "good"))
    devices.connect()
    devices.close()
    names = office.fleet / "names"
    names.write_text("gate-9\n")
    for more in (["--class", "yard"], ["--tags", "north"], ["--devices", str(names)]):
        assert main(command(office, broker, *more)) == 65
        assert "no device can report" in capsys.readouterr().err
    assert office.released() == {}
    assert not list(office.fleet.glob(f"{FOLDER}/*.json"))


def test_no_broker_and_nothing_signed(office: Office, broker: Mosquitto) -> None:
    """What the devices do would not be known."""
    broker.stop()
    assert main(command(office, broker)) == 69
    assert office.released() == {}


def test_a_rollout_goes_on_only_with_its_own_options(office: Office, broker: Mosquitto,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    """The same command continues it; another plan for the same bundle is refused with the one that holds."""
    office.begun()
    assert main(command(office, broker)) == 64
    assert "other options" in capsys.readouterr().err
    assert office.released()[1].buckets == (0, 99)


@pytest.mark.parametrize("wrong", [
    ["--steps", "10,5"], ["--steps", "0"], ["--steps", "101"], ["--steps", "x"], ["--steps", "1,1"],
    ["--soak", "2"], ["--soak", "-1h"], ["--soak", "xh"], ["--max-failed", "0"], ["--max-failed", "100%"],
    ["--min", "0"], ["--on-stop", "panic"]])
def test_a_command_line_that_cannot_be(tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before the folder is opened."""
    assert main(["fleet", "roll", str(tmp_path), "street:4", str(tmp_path / "www"), *wrong]) == 64
    assert wrong[0] in capsys.readouterr().err


def test_a_plan_that_cannot_be(office: Office, broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """A step could never be watched for as long as its soak."""
    assert main(command(office, broker, "--soak", "2d")) == 64
    assert "within: expected at least the soak" in capsys.readouterr().err


def test_a_yes_to_nothing(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no such rollout, or it does not ask."""
    assert main(["fleet", "approve", str(office.fleet), "1"]) == 65
    desk = office.begun()
    desk.settle(phase="asking", words="97 good")
    assert main(["fleet", "approve", str(office.fleet), "1"]) == 0
    assert capsys.readouterr().out == "release 1 goes on: 97 good\n"
