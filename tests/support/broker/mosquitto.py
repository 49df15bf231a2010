"""A real mosquitto on a free loopback port, for tests: started, stopped, frozen and ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.network.ports import kept_port, listens
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.config.models import CameraConfig, CommandsConfig, Config, MqttConfig
from vedette.config.page import CommandName

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


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

    @property
    def resident_bytes(self) -> int:
        """Its resident memory."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10

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

    def client(self, **changes: Any) -> MqttConfig:
        """Configuration of a client of this broker."""
        return MqttConfig(host="127.0.0.1", port=self.port, **changes)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended: {self.log}"
        return listens(self.port)


@contextmanager
def running(folder: Path, settings: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def configuration(mqtt: MqttConfig, allow: Sequence[CommandName] = ()) -> Config:
    """Return the configuration of a device that connects to this broker and carries out these commands."""
    return Config(camera=CameraConfig(source="auto"), mqtt=mqtt, commands=CommandsConfig(allow=tuple(allow)))
