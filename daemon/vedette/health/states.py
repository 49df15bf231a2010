"""Publishes the `camera`, `model` and `info` messages when their content changes.

Invariants: each message is retained, so that a new subscriber gets it at once; an unchanged one is not published again.
Main thread.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, Protocol

from vedette import __version__
from vedette.config.effective import effective, without_secrets
from vedette.health.reasons import REASONS
from vedette.messages import payloads, topics, updates
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.config.effective import Running
    from vedette.detect.pipeline import Pipeline
    from vedette.messages.shapes import InfoPayload
    from vedette.ports import Camera, Publisher
    from vedette.types import CameraStatus, ModelStatus, RunIdentity
    from vedette.vision.limits import Limits


class Models(Protocol):
    """The updater."""

    def status(self) -> ModelStatus:
        """Return which model runs, and which one comes."""


class StatePublisher:
    """`limits`: of the model that runs. `board`: the name of the board, if the device tree has one."""

    def __init__(self, publisher: Publisher, running: Running, identity: RunIdentity, *, camera: Camera,
                 pipeline: Pipeline, models: Models, limits: Callable[[], Limits | None], board: str | None) -> None:
        self._publisher = publisher
        self._running = running
        self._identity = identity
        self._camera = camera
        self._pipeline = pipeline
        self._models = models
        self._limits = limits
        self._board = board
        self._published: dict[str, bytes] = {}

    def tick(self) -> None:
        """Publish the messages that have changed. Called several times a second."""
        camera = self._camera.status()
        self._publish_change(topics.CAMERA, payloads.camera(camera))
        self._publish_change(topics.MODEL, updates.model(self._models.status()))
        self._publish_change(topics.INFO, self._info(camera))

    def _publish_change(self, topic: str, payload: Mapping[str, Any]) -> None:
        encoded = payloads.encode(payload)
        if encoded != self._published.get(topic):
            self._published[topic] = encoded
            self._publisher.publish(Message(topic, encoded, retain=True))

    def _info(self, camera: CameraStatus) -> InfoPayload:
        config, found = self._running.config, effective(self._running, self._limits())
        return payloads.info(
            device=self._identity.device, run=self._identity.run,
            versions={"vedette": __version__, "python": platform.python_version(), "os": system()},
            hardware={"board": self._board, "machine": platform.machine(), "cores": os.cpu_count() or 1},
            camera={"source": camera.source, "width": camera.width, "height": camera.height,
                    "fps": config.camera.fps},
            detector=self._pipeline.status().facts, reason_codes=tuple(REASONS), commands=config.commands.allow,
            config=without_secrets(found["config"]), places=found["places"])


def system() -> str:
    """Return kernel, machine and C library, in the words of `platform.platform`, which starts a process to know them.
    """
    kernel, library = os.uname(), "".join(platform.libc_ver())
    return f"{kernel.sysname}-{kernel.release}-{kernel.machine}" + (f"-with-{library}" if library else "")
