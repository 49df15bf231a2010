"""A real mosquitto on a free loopback port, for tests: started, stopped, frozen and ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting.fair_clock import PATIENCE_S, fair_s
from vedette.config.models import MqttConfig
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.connection import Connection

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kept_port() -> socket.socket:
    """A socket that does not listen: the kernel gives its port to nobody but who asks for it by number."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


class Mosquitto:
    """One broker. `settings` are lines of its configuration after the listener."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        place = kept_port()
        weakref.finalize(self, place.close)
        self.port = int(place.getsockname()[1])
        self._config = folder / f"mosquitto-{self.port}.conf"
        self._log = folder / f"mosquitto-{self.port}.log"
        self.configure(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def configure(self, settings: str) -> None:
        self._config.write_text(f"user root\nlistener {self.port} 127.0.0.1\n{settings}\n")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "-c", str(self._config)], stdout=log, stderr=log)
        assert wait_until(self._listens), f"mosquitto does not listen on {self.port}: {self.log}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def client(self, **changes: object) -> MqttConfig:
        """Configuration of a client of this broker."""
        return MqttConfig(host="127.0.0.1", port=self.port, **changes)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended: {self.log}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


def wait_until(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    """Poll until `holds`; returns whether it did. Within fair seconds, and not much longer than `PATIENCE_S` at all."""
    last_s, last_fair_s = time.monotonic() + max(within_s, PATIENCE_S), fair_s() + within_s
    tick = threading.Event()
    while not holds():
        if fair_s() > last_fair_s or time.monotonic() > last_s:
            return False
        tick.wait(0.02)
    return True


class Subscriber:
    """Collects what a client of its own hears, in its own thread."""

    def __init__(self, mqtt: MqttConfig, *filters: str, name: str = "subscriber") -> None:
        self.heard: list[Incoming] = []
        self._stopping = threading.Event()
        self._connection = Connection(mqtt, f"test.{name}", filters=filters, largest_packet=16_000_000)
        while not self._connection.connected:
            self.heard += self._connection.poll(1)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            self.heard += self._connection.poll(0.05)

    def topics(self) -> list[str]:
        return [message.topic for message in self.heard]

    def last(self, topic: str) -> Incoming | None:
        return next((message for message in reversed(self.heard) if message.topic == topic), None)

    def waits_for(self, holds: Callable[[Incoming], bool], within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: any(holds(message) for message in tuple(self.heard)), within_s)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        self._connection.close(with_goodbye=True)


@contextmanager
def running(folder: Path, settings: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def listening(mqtt: MqttConfig, *filters: str, name: str = "subscriber") -> Iterator[Subscriber]:
    subscriber = Subscriber(mqtt, *filters, name=name)
    try:
        yield subscriber
    finally:
        subscriber.close()


def send(mqtt: MqttConfig, topic: str, payload: bytes, *, retain: bool = False, name: str = "sender") -> None:
    """Publish one message with QoS 1 and wait for its acknowledgement."""
    connection = Connection(mqtt, f"test.{name}")
    try:
        while not connection.connected:
            connection.poll(1)
        connection.publish(topic, payload, qos=1, retain=retain)
        while not connection.is_idle:
            connection.poll(1)
    finally:
        connection.close(with_goodbye=True)
