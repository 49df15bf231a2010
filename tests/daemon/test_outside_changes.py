"""The running daemon under outside changes: an old protocol, a changed password, endless reloads."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import listening, send
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig

pytestmark = pytest.mark.daemon


def test_a_whole_life_on_mqtt_3_1_1(tmp_path: Path) -> None:
    """Birth, results, commands with their replies, the last will, and a retained restart that is ignored."""
    with running(tmp_path) as broker, listening(broker.client(protocol="3.1.1"), f"vedette/{DEVICE}/#") as subscriber:
        theirs = broker.client(protocol="3.1.1")
        config = write_config(tmp_path, broker.port, mqtt=f"{{port: {broker.port}, protocol: '3.1.1'}}",
                              commands="{allow: [snapshot, restart]}")

        def ask(name: str, transaction: str) -> dict[str, Any]:
            send(theirs, f"vedette/{DEVICE}/cmd/{name}", json.dumps({"transaction": transaction}).encode(), name=name)
            assert wait_until(lambda: any(reply["transaction"] == transaction
                                          for reply in subscriber.published(f"reply/{name}"))), daemon.log
            return subscriber.published(f"reply/{name}")[-1]

        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert subscriber.waits_for_results(3), daemon.log
            assert ask("snapshot", "a")["status"] == "ok"
            assert wait_until(lambda: f"vedette/{DEVICE}/snapshot" in subscriber.topics())
            assert ask("pause", "b")["status"] == "refused"
            daemon.signal(signal.SIGKILL)
            assert wait_until(lambda: subscriber.availability == [b"online", b"offline"]), subscriber.availability
        send(theirs, f"vedette/{DEVICE}/cmd/restart", b"{}", retain=True)
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert daemon.waits_for_log("restart ignored: it is retained"), daemon.log
            assert wait_until(lambda: subscriber.results[-1]["run"] == 2), daemon.log
            assert ask("restart", "c")["status"] == "ok"
            assert daemon.ends() == 0
        assert wait_until(lambda: subscriber.availability == [b"online", b"offline"] * 2), subscriber.availability


def test_a_password_changed_while_running_is_used_at_the_next_connection(tmp_path: Path) -> None:
    """The file is read for each connection, with any line end; the refusal of the old password is reported."""
    passwords, secret, eye = tmp_path / "passwords", tmp_path / "secret", tmp_path / "eye"
    passwords.touch(mode=0o600)

    def allow(user: str, password: str) -> None:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True, capture_output=True)

    def receives_results(mqtt: MqttConfig, name: str) -> bool:
        with listening(mqtt, f"vedette/{DEVICE}/#", name=name) as subscriber:
            return subscriber.waits_for_results(2)

    for user in ("gate", "eye"):
        allow(user, "first")
    eye.write_text("first")
    secret.write_bytes(b"\xef\xbb\xbffirst\r\n")
    with running(tmp_path, f"allow_anonymous false\npassword_file {passwords}") as broker:
        config = write_config(tmp_path, broker.port,
                              mqtt=f"{{port: {broker.port}, username: gate, password_file: secret}}")
        watching = broker.client(username="eye", password_file=eye)
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert receives_results(watching, "before"), daemon.log
            allow("gate", "second")
            broker.stop()
            broker.start()
            assert daemon.waits_for_log("refuses vedette-gate: Not authorized"), daemon.log
            secret.write_bytes(b"second\n")
            assert receives_results(watching, "after"), daemon.log
            assert daemon.process.poll() is None


def test_endless_reloads_leave_the_last_one(tmp_path: Path) -> None:
    """Good, bad and missing files in turn, faster than they are read: only the last one counts, and nothing is lost."""
    with running(tmp_path) as broker, listening(broker.client(), f"vedette/{DEVICE}/#") as subscriber:
        config = write_config(tmp_path, broker.port)
        good = config.read_text()
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert subscriber.waits_for_results(2), daemon.log
            before = daemon.footprint()
            for text in (good.replace("interval_s", "interval"), None, good.replace("threads: 1", "threads: 0")) * 15:
                config.write_text(text) if text else config.unlink()
                daemon.signal(signal.SIGHUP)
            config.write_text(good.replace("threads: 1", "threads: 1, deny: [lamp]"))
            daemon.signal(signal.SIGHUP)
            assert wait_until(lambda: subscriber.results[-1]["detections"] == []), daemon.log
            assert wait_until(lambda: "config_rejected" not in str(subscriber.health["reasons"]))
            # a file that is just being read has a descriptor, too
            assert wait_until(lambda: {**before, "rss_kb": 0} == {**daemon.footprint(), "rss_kb": 0}), before
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
            assert "Traceback" not in daemon.log
