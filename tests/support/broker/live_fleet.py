"""A simulated fleet on a real broker, in faster time: it reads what is published and publishes what it does."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.simulated_fleet import SimulatedFleet
from tests.support.waiting.in_thread import InThread
from vedette.errors import BrokerError
from vedette.mqtt.connection import Connection
from vedette.store.release import Release, Target

POLL_S = 0.05


class LiveFleet(InThread):
    """`fleet` and its broker, in a thread. An hour there takes 3,600 s / `speed`. `served`: the published repository.

    When the broker has gone, it connects again and publishes everything that a broker keeps, as devices do.
    """

    def __init__(self, broker: Mosquitto, served: Path, count: int, *, speed: float, bad: float) -> None:
        super().__init__()
        self._broker = broker
        self._served = served
        self._speed = speed
        self._kept: dict[str, Any] = {}
        self._waiting: dict[str, None] = {}
        self._version = 0
        self.connections = 0
        began = datetime.now(UTC)
        self.fleet = SimulatedFleet(count, 0, self._hear, began=began, bad=bad)
        self._began, self._began_s = began, time.monotonic()

    @property
    def is_published(self) -> bool:
        """Whether the broker has all that the devices have said."""
        return not self._waiting and self.connections > 0

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = Connection(self._broker.client(), "test.live-fleet")
                try:
                    self._live(connection)
                finally:
                    connection.close(send_disconnect=True)
            except BrokerError:
                self._stopping.wait(1)

    def _live(self, connection: Connection) -> None:
        """Publish over one connection, until it ends."""
        while not connection.connected and not self._stopping.is_set():
            connection.poll(POLL_S)
        self.connections += 1
        self._waiting = dict.fromkeys(self._kept)
        while not self._stopping.is_set():
            self._read()
            self.fleet.run_until(self._began + timedelta(seconds=(time.monotonic() - self._began_s) * self._speed))
            while self._waiting and connection.has_room:
                topic = next(iter(self._waiting))
                del self._waiting[topic]
                said = self._kept[topic]
                connection.publish(topic, said.encode() if isinstance(said, str) else json.dumps(said).encode(),
                                   qos=0, retain=True)
            connection.poll(POLL_S)

    def _hear(self, topic: str, said: Any) -> None:
        self._kept[topic] = said
        self._waiting[topic] = None

    def _read(self) -> None:
        """Take the releases that are published, if they are new."""
        metadata = self._served / "metadata"
        if not (metadata / "timestamp.json").exists():
            return
        snapshot = json.loads((metadata / "timestamp.json").read_text())["signed"]["meta"]["snapshot.json"]["version"]
        if snapshot == self._version:
            return
        self._version = snapshot
        meta = json.loads((metadata / f"{snapshot}.snapshot.json").read_text())["signed"]["meta"]
        signed = json.loads((metadata / f"{meta['targets.json']['version']}.targets.json").read_text())["signed"]
        self.fleet.publish([Target(path, target["length"], target["hashes"]["sha256"], Release.of(target["custom"]))
                            for path, target in signed["targets"].items()])
