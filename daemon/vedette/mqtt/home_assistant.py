"""Announces the device to Home Assistant, and takes that back when it is switched off.

Invariants:
- What is announced is noted on disk before, so that a later run can take it back, whatever its prefix was.
- The note goes when the broker has the empty message. Without a note nothing is announced.
- An entity that is not wanted any more stays in the message with its platform alone, which removes it. Home Assistant
  keeps one that is only missing.
- The message is published when it has changed, and when Home Assistant says that it has started, at most once in
  AGAIN_AFTER_S.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vedette._lib.durable import replace_file
from vedette.messages import discovery, payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Protocol

    from vedette.config.models import Config
    from vedette.ports import Clock, Publisher
    from vedette.types import DetectorFacts, RunIdentity

    class Broker(Publisher, Protocol):
        """The publisher, which also subscribes."""

        heard: dict[str, Callable[[bytes], None]]

    class Rounds(Protocol):
        """The outbox thread."""

        rounds: list[Callable[[bool], None]]

    class Running(Protocol):
        """What the detect thread does."""

        @property
        def facts(self) -> DetectorFacts | None:
            """Of the detector that runs."""

log = logging.getLogger(__name__)

FILE = "homeassistant.json"
AGAIN_AFTER_S = 10.0
RETRY_S = 60.0
COMPONENTS_MAX = 2000
"""Entities that are noted: those that are announced, and the newest of those that were."""
_FILE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """What the broker may have: the absolute topic (empty: nothing), the model's labels, the platform of each entity.
    """

    topic: str = ""
    labels: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)


class HomeAssistant:
    """`running`: which detector runs. `wants_picture`: whether events of a label have one.

    `round` is for the `outbox` thread, `reload` for any.
    """

    def __init__(self, spool: Rounds, publisher: Broker, config: Config, identity: RunIdentity, state_folder: Path,
                 clock: Clock, *, running: Callable[[], Running], wants_picture: Callable[[str], bool]) -> None:
        settings = config.homeassistant
        self._publisher = publisher
        self._config = config
        self._device = identity.device
        self._path = state_folder / FILE
        self._clock = clock
        self._running = running
        self._wants_picture = wants_picture
        self._topic = discovery.discovery_topic(settings.prefix, identity.device) if settings.enabled else ""
        self._made_of: tuple[Config | None, tuple[str, ...]] = None, ()
        self._message: Message | None = None
        self._is_leaving = False
        self._has_started = threading.Event()
        self._again_s = self._retry_s = 0.0
        self._said = ""
        spool.rounds.append(self.round)
        if settings.enabled:
            publisher.heard[topics.HOME_ASSISTANT_STATUS] = self._on_status

    def __repr__(self) -> str:
        return f"<HomeAssistant {self._topic or 'off'}>"

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration."""
        self._config = config

    def round(self, final: bool) -> None:
        """Publish what is due. Several times a second."""
        if final or self._now_s() < self._retry_s:
            return
        if self._note.topic not in ("", self._topic):
            self._take_back()
        elif self._topic:
            self._announce()

    @cached_property
    def _note(self) -> Note:
        try:
            with self._path.open("rb") as file:
                return _note(file.read(_FILE_BYTES))
        except FileNotFoundError:
            return Note()
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used, so what an earlier run announced to Home Assistant may stay there: %s",
                        self._path, error)
            return Note()

    def _on_status(self, payload: bytes) -> None:
        """Take Home Assistant's birth or will. On the `mqtt` thread."""
        if payload == topics.ONLINE:
            self._has_started.set()

    def _take_back(self) -> None:
        status = self._publisher.status()
        if not self._is_leaving:
            log.info("what %s announced to Home Assistant is taken back", self._note.topic)
            self._publisher.publish(Message("/" + self._note.topic, b"", retain=True))
            self._is_leaving = True
        elif status.connected and not status.outbox_depth and self._save(Note()):       # the broker has it
            self._is_leaving = False

    def _announce(self) -> None:
        facts, config = self._running().facts, self._config
        labels, left_out = discovery.chosen_labels(config, self._note.labels if facts is None else facts.labels)
        if self._made_of[0] is not config or self._made_of[1] != labels:
            self._publish_change(config, labels, left_out)
        if self._has_started.is_set() and self._message is not None and self._now_s() >= self._again_s:
            self._has_started.clear()
            self._again_s = self._now_s() + AGAIN_AFTER_S
            self._publisher.publish(self._message)

    def _publish_change(self, config: Config, labels: tuple[str, ...], left_out: int) -> None:
        payload = discovery.discovery(config, self._device, labels, self._wants_picture)
        components: dict[str, Any] = payload["components"]
        now = {key: component["platform"] for key, component in components.items()}
        gone = {key: platform for key, platform in self._note.components.items() if key not in now}
        gone = dict(list(gone.items())[-max(0, COMPONENTS_MAX - len(now)):])
        if not self._save(Note(self._topic, labels, {**gone, **now})):
            return
        self._made_of = config, labels
        payload["components"] = components | {key: {"platform": platform} for key, platform in gone.items()}
        message = Message("/" + self._topic, payloads.encode(payload), retain=True)
        if message != self._message:
            self._message = message
            self._publisher.publish(message)
            log.info("announced to Home Assistant: %d entities on %s%s", len(now), self._topic, f"; {left_out} labels "
                     "got none, because homeassistant.labels does not choose any" if left_out else "")

    def _save(self, note: Note) -> bool:
        """Write the note if it has changed; returns whether the disk has it."""
        if note == self._note:
            return True
        content = payloads.encode({"topic": note.topic, "labels": note.labels, "components": note.components})
        try:
            replace_file(self._path, content)
        except OSError as error:
            self._retry_s = self._now_s() + RETRY_S
            trouble = f"{self._path}: {error.strerror}: nothing new is announced to Home Assistant"
            if trouble != self._said:
                log.warning("%s", trouble)
            self._said = trouble
            return False
        self._note, self._said = note, ""
        return True

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _note(content: bytes) -> Note:
    """Return what the file holds. Raises: ValueError."""
    found = json.loads(content)
    try:
        topic, labels, components = found["topic"], tuple(found["labels"]), dict(found["components"])
    except (KeyError, TypeError) as error:
        raise ValueError("expected topic, labels and components") from error
    if not all(isinstance(text, str) for text in (topic, *labels, *components, *components.values())):
        raise ValueError("expected texts")
    return Note(topic, labels, components)
