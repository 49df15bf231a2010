"""The program of contrib/ingest between a real mosquitto and a real PostgreSQL, through what ends each of them."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contrib.ingest.consumer import RETRY_CAP_S, retry_s
from tests.support.broker import mosquitto
from tests.support.broker.mosquitto import Mosquitto
from tests.support.network.ingest import encoded, ingesting, kill
from tests.support.network.postgres import Postgres, needed, running
from tests.support.network.prometheus import CONTRIB
from tests.support.waiting.until import eventually, wait_until
from vedette.mqtt.connection import Connection

UNIT = CONTRIB / "ingest" / "vedette-ingest.service"
TOPIC = "vedette/gate-01/detections"
KEEPING = "allow_anonymous true\nmax_queued_messages 0\npersistence true\npersistence_location {}/\n"
"""What the README says of the broker."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running(needed(), "fsync=off", "shared_buffers=16MB") as postgres:
        yield postgres


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto.running(tmp_path, KEEPING.format(tmp_path)) as started:
        yield started


def publish(broker: Mosquitto, numbers: Sequence[int], *others: bytes) -> None:
    """Publish results with these numbers, and other payloads, and wait until the broker has them."""
    connection = Connection(broker.client(), "test.gate-01")
    at = datetime.now(UTC).isoformat()
    try:
        while not connection.connected:
            connection.poll(1)
        for payload in (*others, *(encoded("detections", number, at) for number in numbers)):
            while not connection.has_room:
                connection.poll(1)
            connection.publish(TOPIC, payload, qos=1)
        while not connection.is_idle:
            connection.poll(1)
    finally:
        connection.close(send_disconnect=True)


def written(server: Postgres) -> list[int]:
    return [number for number, in server.query("SELECT seq FROM results ORDER BY seq")]


def test_the_waits_are_bounded() -> None:
    """Also after a week without a database."""
    assert [retry_s(tries) for tries in (1, 2, 100_000)] == [1, 2, RETRY_CAP_S]


@pytest.mark.slow
def test_each_row_is_written_once(server: Postgres, broker: Mosquitto, tmp_path: Path) -> None:
    """While the program, the database or the broker is away, messages wait; afterwards each is there once.

    A bad message is aside, and one that is too large for the program stops nothing.
    """
    with ingesting(tmp_path, broker.port, server) as program:
        assert wait_until(lambda: "connected" in program.log)
        publish(broker, range(300), b"{", encoded("detections", 0, "2026-11-30T10:00:00Z", rest="x" * 300_000))
        eventually(lambda: server.query("SELECT to_regclass('results')")[0][0] and written(server))
        kill(program)
    publish(broker, range(300, 2000))
    broker.stop()
    broker.start()
    publish(broker, range(2000, 2100))
    with ingesting(tmp_path, broker.port, server) as program:
        assert wait_until(lambda: written(server) == list(range(2100))), program.log
        server.stop(signal.SIGQUIT)
        publish(broker, range(2100, 2200))
        assert wait_until(lambda: "database: " in program.log)
        server.start()
        assert wait_until(lambda: written(server) == list(range(2200))), program.log
    assert server.query("SELECT payload FROM rejected") == [(b"{",)]
    values = program.values()
    assert (values["vedette_ingest_broker_connected"], values["vedette_ingest_database_connected"]) == (1, 1)


@pytest.mark.slow
def test_a_share_of_the_messages(server: Postgres, broker: Mosquitto, tmp_path: Path) -> None:
    """Two programs of one group, also with MQTT 3.1.1, divide the messages, and together write each once."""
    server.query("CREATE DATABASE shared")
    with ingesting(tmp_path, broker.port, server, "shared", "--share", "site", name="one") as one, \
            ingesting(tmp_path, broker.port, server, "shared", "--share", "site", "--protocol", "3.1.1",
                      name="two") as two:
        assert wait_until(lambda: "connected" in one.log and "connected" in two.log)
        publish(broker, range(200))
        assert wait_until(lambda: server.query("SELECT count(*) FROM results", database="shared") == [(200,)])
    parts = [each.values()["vedette_ingest_results_total"] for each in (one, two)]
    assert (sum(parts), min(parts) > 0) == (200, True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")
def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    """systemd has nothing to say, with a program that exists here, and the exposure is at most two."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/vedette-ingest/venv/bin/python", "/bin/true"))
    for args in (("verify", "--man=no", unit), ("security", "--offline=true", "--threshold=20", UNIT)):
        done = subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=240)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
