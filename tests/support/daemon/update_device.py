"""A device for new models: a real daemon on a film of a lamp, a real broker, and a prepared store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Payload, Subscriber, listening
from tests.support.daemon.running import RunningDaemon
from tests.support.truth.bright_squares import write_clip
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.store.model_store import ModelStore
from vedette.store.release import ShadowRequirement, TrialRequirement
from vedette.store.state import Installed, StoreState
from vedette.tflite.file import read_model

DEVICE = "gate"
SHORT_TRIAL = TrialRequirement(frames=30, minutes=0.05)
LONG_TRIAL = TrialRequirement(frames=10**6, minutes=1000)
SHORT_SHADOW = ShadowRequirement(frames=3, minutes=0.02, publish=True, max_latency_ratio=50)
LIMIT_BYTES = 1 << 26


class Device:
    """One device in a folder of its own. Daemons come and go; the store and the configuration stay."""

    def __init__(self, folder: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
        self.folder = folder
        self.broker = broker
        self.subscriber = subscriber
        self.config = folder / "config.yaml"
        (folder / "state").mkdir()
        self.configure()

    def configure(self, *, source: Path | str | None = None, update: str = "{require_signed: false}",
                  detector: str = "{threads: 1}") -> None:
        clip = source or write_clip(self.folder)
        self.config.write_text(
            f"device: {DEVICE}\nmqtt: {{port: {self.broker.port}}}\npublish: {{results: all, max_per_s: 100}}\n"
            f"health: {{interval_s: 1}}\ncommands: {{allow: [update, rollback]}}\nupdate: {update}\n"
            f"camera: {{source: '{clip}', loop: true}}\ndetector: {detector}\n")

    def store(self) -> ModelStore:
        """The store, for a test that reads or prepares it while no daemon runs."""
        store = ModelStore(self.folder / "state" / "models")
        store.read()
        return store

    @property
    def state(self) -> StoreState:
        return self.store().read()

    def good(self, *models: Path) -> None:
        """Mark these models as good on this device, the last one active."""
        for model in models:
            self._change(model, lambda state, one: state.activated(one, datetime.now(UTC), on_trial=False))

    def staged(self, model: Path, *, trial: TrialRequirement | None = SHORT_TRIAL,
               shadow: ShadowRequirement | None = None, release: int | None = None) -> Installed:
        """Put this model into the store as the candidate."""
        return self._change(model, lambda state, one: state.staged(one), trial=trial, shadow=shadow, release=release)

    def daemon(self, program: Sequence[str] = ("-m", "vedette", "run"),
               env: dict[str, str] | None = None) -> RunningDaemon:
        """Start a daemon; messages of an earlier one are dropped."""
        self.subscriber.received.clear()
        return RunningDaemon(self.folder, "--config", self.config, program=program, env=env)

    def published(self, topic: str) -> list[Payload]:
        return self.subscriber.published(topic)

    def reasons(self) -> dict[str, str | None]:
        return self.subscriber.reasons

    @property
    def model(self) -> Payload:
        return (self.subscriber.published("model") or [{}])[-1]

    def states(self) -> list[str]:
        """The states in the model messages, without repeats."""
        named = [message["state"] for message in self.subscriber.published("model")]
        return [state for state, before in zip(named, [None, *named], strict=False) if state != before]

    def waits_for_model(self, within_s: float = PATIENCE_S, **wanted: object) -> bool:
        """Wait until the model message has these values."""
        return wait_until(lambda: bool(self.model) and all(self.model[key] == value for key, value in wanted.items()),
                          within_s)

    def waits_for_results_of(self, version: str, within_s: float = PATIENCE_S) -> bool:
        """Wait until the newest result is of this version."""
        return wait_until(lambda: bool(self.subscriber.results)
                          and self.subscriber.results[-1]["model"]["version"] == version, within_s)

    def _change(self, model: Path, transition: Callable[[StoreState, Installed], StoreState], **more: Any) -> Installed:
        store = self.store()
        store.recover()
        sha256, size = store.stage(model, None, limit_bytes=LIMIT_BYTES)
        name, _, version = model.stem.partition("-")
        installed = Installed(sha256=sha256, size=size, name=name, version=version, **more)
        store.change(transition(store.state, installed))
        return installed


@contextmanager
def device_in(folder: Path) -> Iterator[Device]:
    """A device without any model, and its broker."""
    broker = Mosquitto(folder)
    broker.start()
    try:
        with listening(broker.client(), f"vedette/{DEVICE}/#") as subscriber:
            yield Device(folder, broker, subscriber)
    finally:
        broker.stop()


def digest(model: Path) -> str:
    return read_model(model).sha256
