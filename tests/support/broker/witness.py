"""The messages of one device over a long time, summed up in a few figures as they arrive."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.support.truth.truth import TruthChecker
from tests.support.waiting.in_thread import InThread
from vedette.config.models import MqttConfig
from vedette.errors import BrokerError
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.connection import Connection
from vedette.mqtt.terms import Start, Terms

RETRY_S = 0.1


class Witness(InThread):
    """Listens in a thread of its own and reconnects at once; the broker keeps for it what it missed meanwhile.

    That holds over a restart of a broker with persistence too, as no session of the witness begins clean.

    `results` and `repeated` count result messages and those whose `seq` had come before.
    `availabilities`: (moment, payload) of each availability; after a reconnect of its own the retained one comes again.
    `seqs`: of the results of the device's last run.
    `first_named`: reason code -> moment when health first had it since `forget`. Moments are monotonic seconds.
    `checker` checks every message as well.
    """

    def __init__(self, mqtt: MqttConfig, device: str, checker: TruthChecker | None = None) -> None:
        super().__init__()
        self.listening = False
        self.results = 0
        self.repeated = 0
        self.seqs: set[int] = set()
        self.availabilities: list[tuple[float, str]] = []
        self.health: dict[str, Any] = {}
        self.camera: dict[str, Any] = {}
        self.worst_health_gap_s = 0.0
        self.deepest_outbox = 0
        self.first_named: dict[str, float] = {}
        self._checker = checker
        self._mqtt = mqtt
        self._device = device
        self._health_s: float | None = None

    @property
    def reasons(self) -> set[str]:
        """Reason codes in the last health message."""
        return _codes(self.health)

    @property
    def availability(self) -> str | None:
        """The last message on availability."""
        return self.availabilities[-1][1] if self.availabilities else None

    def forget(self) -> None:
        """Start `first_named` again."""
        self.first_named = {}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except BrokerError:
                self._stopping.wait(RETRY_S)

    def _listen(self) -> None:
        connection = Connection(self._mqtt, f"test.witness-{self._device}",
                                Start(Terms(self._mqtt.protocol == 5), clean=False),
                                filters=[f"vedette/{self._device}/#"], largest_packet=1_000_000)
        try:
            while not self._stopping.is_set():
                self.listening |= connection.connected
                for message in connection.poll(0.1):
                    self._take(message)
        finally:
            connection.close(send_disconnect=True)

    def _take(self, message: Incoming) -> None:
        now_s = time.monotonic()
        topic = message.topic.rpartition("/")[2]
        if self._checker is not None:
            self._checker.check(topic, message.payload)
        if topic == "availability":
            self.availabilities.append((now_s, message.payload.decode()))
        elif topic == "detections":
            seq = json.loads(message.payload)["seq"]
            self.results += 1
            self.repeated += seq in self.seqs
            self.seqs.add(seq)
        elif topic == "health":
            self._take_health(json.loads(message.payload), now_s)
        elif topic == "camera":
            self.camera = json.loads(message.payload)

    def _take_health(self, health: dict[str, Any], now_s: float) -> None:
        if self._health_s is not None:
            self.worst_health_gap_s = max(self.worst_health_gap_s, now_s - self._health_s)
        self._health_s = now_s
        self.health = health
        self.deepest_outbox = max(self.deepest_outbox, health["mqtt"]["outbox_depth"])
        for code in _codes(health):
            self.first_named.setdefault(code, now_s)


def _codes(health: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in health.get("reasons", ())}
