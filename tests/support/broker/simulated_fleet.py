"""A fleet of simulated devices that follow releases in simulated time, and say what the daemon would say.

Each device polls once an hour at a minute of its own, chooses a release by the daemon's rules, tries it for ten
minutes, and publishes `availability`, `model` and `health` in the shapes of the daemon's own payloads.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.support.broker.many_devices import Device, health
from vedette.messages import payloads, updates
from vedette.store.release import Target
from vedette.store.state import StoreState
from vedette.types import LastUpdate, ModelRef, ModelStatus, Receiver, UpdateCode
from vedette.update.rules import choose

Fate = Literal["good", "bad", "silent"]
"""What a new release does to a device."""
Hear = Callable[[str, Any], object]
"""Takes an absolute topic and a parsed payload."""
BEGAN = datetime(2026, 12, 1, 8, tzinfo=UTC)
OLD = ModelRef("street", "3", "a" * 64, None)
POLL, TRIAL, HEALTH_EVERY = timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=30)
CODES: Sequence[UpdateCode] = ("blind", "slow", "crashed", "errors")


@dataclass
class Simulated:
    """One device: its fate with each new release, whether it lies, and what it runs now."""

    name: str
    fate: Fate
    lies: bool
    status: ModelStatus
    online: bool = True
    running: int = 1
    trying: int | None = None
    refused: frozenset[int] = frozenset()
    touched: bool = False


class SimulatedFleet:
    """`bad`, `silent`, `lying`: shares of the devices; `away`: of those that are offline from the beginning.

    A lying device says that it is good with each new release at once; what it really does with it is its fate.
    """

    def __init__(self, count: int, seed: int, hear: Hear, *, bad: float = 0.0, silent: float = 0.0, lying: float = 0.0,
                 away: float = 0.005, began: datetime = BEGAN) -> None:
        self.now = began
        self._hear = hear
        self._chance = random.Random(seed)
        self._order = itertools.count()
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._targets: tuple[Target, ...] = ()
        self.devices = [self._device(f"gate-{seed:03}-{number:05}", bad, silent, lying) for number in range(count)]
        for device in self.devices:
            device.online = self._chance.random() >= away
            self._say(device, "availability", "online" if device.online else "offline")
            self._say_model(device)
        self._say_health()
        self._at(HEALTH_EVERY, self._talk)

    @property
    def touched(self) -> int:
        """How many devices ever ran a new release."""
        return sum(device.touched for device in self.devices)

    def publish(self, targets: Sequence[Target]) -> None:
        """The operator has published: each device that has something to do does it at its next poll."""
        self._targets = tuple(targets)
        for device in self.devices:
            if device.online and self._wanted(device) not in (device.running, device.trying):
                if device.lies:
                    self._at(timedelta(seconds=1), self._lie_of(device))
                self._at(POLL * self._chance.random(), self._poll_of(device))

    def run_until(self, moment: datetime) -> None:
        """Do everything that happens until then."""
        while self._due and self._due[0][0] <= moment:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = moment

    def _device(self, name: str, bad: float, silent: float, lying: float) -> Simulated:
        drawn = self._chance.random()
        fate: Fate = "bad" if drawn < bad else "silent" if drawn < bad + silent else "good"
        return Simulated(name, fate, self._chance.random() < lying, ModelStatus(
            "good", OLD, 1, "3", receiver=Receiver("default", "stable"),
            last_update=LastUpdate(1, OLD.sha256, ok=True, code="good", at=BEGAN - timedelta(days=9))))

    def _at(self, delay: timedelta, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._order), act))

    def _wanted(self, device: Simulated) -> int:
        open_targets = [each for each in self._targets if each.release.release not in device.refused]
        found = choose(open_targets, device=device.name, receiver=Receiver("default", "stable"), any_bucket=False,
                       state=StoreState())
        return found.release.release if found else device.running

    def _poll_of(self, device: Simulated) -> Callable[[], None]:
        def poll() -> None:
            wanted = self._wanted(device)
            if not device.online or wanted in (device.running, device.trying):
                return
            if wanted < device.running:
                self._settle(device, wanted)
                return
            device.trying, device.touched = wanted, True
            self._say_model(device, replace(device.status, state="trial", model=_ref(wanted), release=wanted))
            self._at(TRIAL * (1 + self._chance.random() / 4), self._end_of(device, wanted))
        return poll

    def _end_of(self, device: Simulated, release: int) -> Callable[[], None]:
        def end() -> None:
            if device.trying != release:
                return
            device.trying = None
            if device.fate == "silent":
                device.online = False
                if self._chance.random() < 0.5:         # the others hang, and the broker does not notice
                    self._say(device, "availability", "offline")
            elif device.fate == "bad":
                device.refused |= {release}
                last = LastUpdate(release, _ref(release).sha256, ok=False, code=self._chance.choice(CODES), at=self.now)
                device.status = replace(device.status, last_update=last)
                self._say_model(device)
            else:
                self._settle(device, release)
        return end

    def _lie_of(self, device: Simulated) -> Callable[[], None]:
        def lie() -> None:
            release = self._wanted(device)
            last = LastUpdate(release, _ref(release).sha256, ok=True, code="good", at=self.now)
            self._hear(f"vedette/{device.name}/model", _parsed(payloads.encode(updates.model(replace(
                device.status, state="good", model=_ref(release), release=release, last_update=last)))))
        return lie

    def _settle(self, device: Simulated, release: int) -> None:
        """The device runs this release, and is content."""
        device.running = release
        device.status = replace(
            device.status, model=_ref(release), release=release,
            last_update=LastUpdate(release, _ref(release).sha256, ok=True, code="good", at=self.now))
        self._say_model(device)

    def _talk(self) -> None:
        self._say_health()
        self._at(HEALTH_EVERY, self._talk)

    def _say_health(self) -> None:
        """Have all say that they are well; one payload serves all, since only the topic tells whose it is."""
        ok = Device("any", online=True, status=self.devices[0].status, reasons=(), state="ok", failure=None)
        said = _parsed(payloads.encode(health(ok, self.now)))
        for device in self.devices:
            if device.online:
                self._say(device, "health", said)

    def _say_model(self, device: Simulated, status: ModelStatus | None = None) -> None:
        if not device.lies:
            self._say(device, "model", _parsed(payloads.encode(updates.model(status or device.status))))

    def _say(self, device: Simulated, topic: str, payload: Any) -> None:
        self._hear(f"vedette/{device.name}/{topic}", payload)


def _ref(release: int) -> ModelRef:
    return OLD if release == 1 else ModelRef("street", str(release + 2), f"{release:064x}", None)


def _parsed(payload: bytes) -> Any:
    return json.loads(payload)
