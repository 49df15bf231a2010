"""Simulated devices of a rollout: each takes the release that is published for it, and says how that ended."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vedette.config.models import MqttConfig
from vedette.messages import payloads
from vedette.mqtt.connection import Connection
from vedette.store.release import Release
from vedette.types import Receiver

RECEIVER = Receiver("default", "stable")


class RolledDevices:
    """Devices by name, each with what becomes of a new release there: `good`, `stuck`, or the code of a failure.

    `silent`: those that publish nothing more once they have it. All methods return when the broker has the messages.
    """

    def __init__(self, mqtt: MqttConfig, served: Path, ends: Mapping[str, str], silent: Collection[str] = ()) -> None:
        self._mqtt = mqtt
        self._served = served
        self._ends = ends
        self._silent = silent
        self._connection: Connection | None = None
        self._at = 0
        self.taken: dict[str, int | None] = dict.fromkeys(ends)
        """The release that each device runs or has refused."""

    def connect(self) -> None:
        """Publish everything that a device keeps on the broker, over a new connection."""
        self.close()
        self._connection = Connection(self._mqtt, "test.rolled-devices")
        while not self._connection.connected:
            self._connection.poll(1)
        for device in self._ends:
            self._publish(device, "availability", b"online")
            self._publish(device, "model", self._model(device))
        self.live()

    def live(self) -> None:
        """Let every device ask for releases once, and publish its health."""
        for device in self._ends:
            release = self._chosen(device)
            if self.taken[device] in self._failed(device) and release in {None, *self._failed(device)}:
                pass
            elif release != self.taken[device]:
                self.taken[device] = release
                self._publish(device, "model", self._model(device))
            if not (device in self._silent and self.taken[device] is not None):
                self._publish(device, "health", self._health())
        assert self._connection is not None
        while not self._connection.is_idle:
            self._connection.poll(1)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(send_disconnect=True)

    def releases(self) -> dict[int, Release]:
        """What is published now, by number."""
        files = [*(self._served / "metadata").glob("*.targets.json")]
        if not files:
            return {}
        newest = max(files, key=_version)
        targets = json.loads(newest.read_bytes())["signed"]["targets"]
        found = [Release.of(target["custom"]) for target in targets.values()]
        return {release.release: release for release in found}

    def _chosen(self, device: str) -> int | None:
        return max((number for number, release in self.releases().items() if release.is_for(device, RECEIVER)),
                   default=None)

    def _failed(self, device: str) -> set[int | None]:
        return {self.taken[device]} if self._ends[device] not in {"good", "stuck"} else set()

    def _model(self, device: str) -> bytes:
        release, end = self.taken[device], self._ends[device]
        is_good = end == "good"
        last = None if release is None or end == "stuck" else {
            "release": release, "sha256": "a" * 64, "ok": is_good, "code": end, "at": _now()}
        body: dict[str, Any] = {
            "state": "trial" if end == "stuck" and release else "good", "title": "street", "installed_version": "4",
            "release": release if is_good or end == "stuck" else None, "last_update": last,
            "receiver": {"device_class": "default", "channel": "stable", "tags": []}}
        return json.dumps(body).encode()

    def _health(self) -> bytes:
        self._at += 1
        return json.dumps({"state": "ok", "reasons": [], "at": _now(), "run": self._at}).encode()

    def _publish(self, device: str, topic: str, payload: bytes) -> None:
        assert self._connection is not None
        while not self._connection.has_room:
            self._connection.poll(1)
        self._connection.publish(f"vedette/{device}/{topic}", payload, qos=1, retain=True)


def _version(path: Path) -> int:
    found = re.match(r"\d+", path.name)
    return int(found[0]) if found else 0


def _now() -> str:
    return payloads.timestamp(datetime.now(UTC))
