"""`vedette fleet status` and `vedette fleet release` with what the devices on a real broker say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.broker.many_devices import NEW, OLD, Device, publish
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import send
from tests.support.network.operators import Operator
from tests.support.network.ports import free_port
from vedette.cli import main
from vedette.types import LastUpdate, ModelStatus, Receiver, UpdateCode

pytestmark = pytest.mark.slow

CANARY, STABLE = Receiver("default", "canary", ("indoor",)), Receiver("default", "stable")
NOW = datetime.now(UTC)


def device(name: str, status: ModelStatus, *, online: bool = True, code: UpdateCode | None = None) -> Device:
    last = None if code is None else LastUpdate(2, NEW.sha256, ok=False, code=code, at=NOW)
    return Device(name, online=online, status=replace(status, last_update=last), reasons=(), state="ok", failure=code)


def fleet_of() -> list[Device]:
    """Release 2 has eight canaries, release 1 three other devices, and one device is of an older Vedette."""
    old = ModelStatus("good", OLD, 1, "4", receiver=CANARY)
    new = replace(old, model=NEW, release=2)
    stable = replace(old, receiver=STABLE)
    return [
        device("gate-01", new), device("gate-02", new), device("gate-03", replace(new, state="trial")),
        device("gate-04", old, code="blind"), device("gate-05", old, code="blind", online=False),
        device("gate-06", old, code="slow"), device("gate-07", old, online=False), device("gate-08", old),
        device("gate-09", stable), device("gate-10", stable), device("gate-11", replace(stable, state="downloading")),
        device("gate-12", replace(old, receiver=None))]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as broker:
        publish(broker.client(), fleet_of())
        yield broker


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.release(b"old", "3")
    operator.release(b"new", "4", channel="canary", tags=("indoor",), salt="of its own")
    return operator


def call(command: str, operator: Operator, *more: object) -> int:
    return main(["fleet", command, str(operator.folder), *map(str, more)])


def test_how_each_release_is_doing(broker: Mosquitto, operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    """Every expected device is in one count; who does not say what it takes is named as a number."""
    send(broker.client(), "vedette/gate-13/availability", b"offline", retain=True)
    place = ("--host", "127.0.0.1", "--port", broker.port, "--once", "0.2")
    assert call("status", operator, *place, "--json") == 0
    printed = capsys.readouterr()
    status = json.loads(printed.out)
    assert {each["release"]: each["devices"] for each in status["releases"]} == {
        2: {"expected": 8, "good": 2, "trial": 1, "failed": {"blind": 2, "slow": 1}, "silent": 1, "waiting": 1},
        1: {"expected": 3, "good": 2, "trial": 0, "failed": {}, "silent": 0, "waiting": 1}}
    assert status["known"] == {"devices": 13, "without_receiver": 2}
    assert "model was expected of 13 devices, and came from 12; missing: gate-13" in printed.err
    assert call("status", operator, *place, "--within", "15") == 1
    first, counts, *lines = capsys.readouterr().out.splitlines()
    assert first == "release 2: street 4 to default on canary, tags indoor, buckets 0-9999 (100%)"
    assert counts == ("  8 expected: 2 good, 1 on trial, 3 failed (blind: 2, slow: 1), 1 silent, 1 waiting")
    assert "known devices: 13; 2 do not say which releases they take" in lines


def test_a_release_says_first_whom_it_reaches(broker: Mosquitto, operator: Operator,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """The number of known devices is printed before anything is signed; without the broker nothing is."""
    assert call("release", operator, "street:3", "--host", "127.0.0.1", "--port", free_port()) == 69
    place = ("--host", "127.0.0.1", "--port", broker.port, "--once", "0.2")
    assert call("release", operator, "street:3", *place, "--keys", operator.folder / "none") == 69
    printed = capsys.readouterr().out
    assert printed == "known devices: 12, of which 11 match; 1 do not say which releases they take\n"
    assert call("status", operator, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert ([each["release"] for each in status["releases"]], "known" in status) == ([2, 1], False)
    assert call("release", operator, "street:3", *place, "--tags", "indoor", "--class", "yard", "--json") == 0
    released = json.loads(capsys.readouterr().out)
    assert released["known"] == {"devices": 12, "matching": 0, "without_receiver": 1}
