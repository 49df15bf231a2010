"""`vedette fleet watch` on a real broker."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import send
from tests.support.daemon.running import environment
from tests.support.network.ports import free_port
from tests.support.waiting.until import wait_until
from vedette.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as broker:
        for device, version in (("gate-01", "4"), ("gate-02", "3")):
            for topic, payload in (("availability", b"online"), ("model", model(version))):
                send(broker.client(), f"vedette/{device}/{topic}", payload, retain=True)
        yield broker


def model(version: str, state: str = "good") -> bytes:
    return json.dumps({"state": state, "title": "street\x1b", "installed_version": version, "release": 7}).encode()


def arguments(broker: Mosquitto, *more: str) -> list[str]:
    return ["fleet", "watch", "--host", "127.0.0.1", "--port", str(broker.port), *more]


def test_a_table_of_what_is_retained(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each device, a summary above, no unprintable characters."""
    assert main(arguments(broker, "--once", "3")) == 0
    summary, head, *lines = capsys.readouterr().out.splitlines()
    assert summary.startswith("2 devices, 2 online; street")
    assert head.startswith("DEVICE")
    assert [line.split()[:2] for line in lines] == [["gate-01", "online"], ["gate-02", "online"]]
    assert not any("\x1b" in line for line in lines)


def test_json_once(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """The output is one JSON object for each device."""
    assert main(arguments(broker, "--once", "3", "--json")) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["device"], row["version"], row["online"], row["release"]) for row in rows] == [
        ("gate-01", "4", True, 7), ("gate-02", "3", True, 7)]


def test_a_summary_is_one_object(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the counts and nothing else; what may be missing is on standard error."""
    send(broker.client(), "vedette/gate-03/availability", b"offline", retain=True)
    assert main(arguments(broker, "--once", "0.5", "--summary", "--json")) == 0
    printed = capsys.readouterr()
    (summary,) = map(json.loads, printed.out.splitlines())
    assert summary == {"devices": 3, "online": 2, "models": {"street\x1b 4": 1, "street\x1b 3": 1},
                       "states": {"good": 2}, "failed": {}, "silent": 1}
    assert printed.err.splitlines() == [
        "vedette: model was expected of 3 devices, and came from 2; missing: gate-03",
        "vedette: health was expected of 3 devices, and came from 0; missing: gate-01, gate-02, gate-03"]


def test_failures_in_words(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """The table and the summary name what failed, and who has been silent for longest."""
    health = {"state": "failed", "reasons": [{"code": "camera_offline"}], "at": "2026-11-30T11:00:00.000Z"}
    send(broker.client(), "vedette/gate-02/health", json.dumps(health).encode(), retain=True)
    failed, silent = "failed   camera_offline: 1", "silent   1; longest: gate-02, its last health is of 2026-11-30T11:"
    for option in ((), ("--summary",)):
        assert main(arguments(broker, "--once", "0.5", "--silent-after", "0.1", *option)) == 0
        lines = capsys.readouterr().out.splitlines()
        assert failed in lines
        assert any(line.startswith(silent) for line in lines)
    assert lines[-2:] == ["reasons  camera_offline: 1", "heard    availability 2, model 2, health 1, of 2 expected"]


def test_summaries_while_they_change(broker: Mosquitto, tmp_path: Path) -> None:
    """A pipe gets an object for each change of a count."""
    child = subprocess.Popen([sys.executable, "-m", "vedette", *arguments(broker, "--summary", "--json")], text=True,
                             stdout=subprocess.PIPE, env=environment(tmp_path))
    assert child.stdout is not None
    try:
        assert json.loads(child.stdout.readline())["states"] == {"good": 2}
        send(broker.client(), "vedette/gate-02/model", model("4", "trial"), retain=True)
        assert json.loads(child.stdout.readline())["states"] == {"good": 1, "trial": 1}
    finally:
        child.kill()
        child.wait(240)
        child.stdout.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_follows_changes(broker: Mosquitto, tmp_path: Path, terminal: bool) -> None:
    """A pipe gets a line for each change, a terminal the table again; Ctrl-C ends it."""
    master, slave = pty.openpty() if terminal else os.pipe()
    child = subprocess.Popen([sys.executable, "-m", "vedette", *arguments(broker)], stdout=slave,
                             env=environment(tmp_path))
    os.close(slave)
    os.set_blocking(master, False)
    text = ""

    def shows(words: str) -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(master, 65536).decode()
        return words in text

    try:
        assert wait_until(lambda: shows("gate-02"))
        assert ("\x1b[2J" in text, "DEVICE" in text) == (terminal, terminal)
        text = ""
        send(broker.client(), "vedette/gate-02/model", model("4", "trial"), retain=True)
        assert wait_until(lambda: shows("trial"))
        assert ("gate-01" in text) == terminal
    finally:
        child.terminate()
        child.wait(240)
        os.close(master)


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says where a broker was expected; the exit code is 69."""
    assert main(["fleet", "watch", "--host", "127.0.0.1", "--port", str(port := free_port())]) == 69
    assert f"127.0.0.1:{port}" in capsys.readouterr().err
