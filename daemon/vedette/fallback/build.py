"""Builds the fallbacks: the chain, and the thread of the cloud.

Invariant: a module is imported only if its fallback is configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette._lib.worker import Worker
from vedette.config.camera_values import region_of
from vedette.fallback.chain import FallbackChain
from vedette.supervisor import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.fallback.cloud_worker import CloudWorker
    from vedette.fallback.motion import MotionDetector
    from vedette.ports import Camera, Clock

CLOUD_STOP_S = 2.0
"""A call that takes longer is abandoned: nobody needs its answer."""


class Fallbacks:
    """The chain and its parts. `boot_id` names the boot whose monotonic clock this is."""

    def __init__(self, config: Config, state: Path, camera: Camera, clock: Clock, *, boot_id: str,
                 on_end: Callable[[Worker], None]) -> None:
        self._roi = region_of(config.camera.roi)
        self._on_end = on_end
        self._cloud = _build_cloud(config, state, camera, clock, boot_id) if config.cloud.enabled else None
        self.chain = FallbackChain(
            clock, cloud=self._cloud, interval_s=config.cloud.interval_s,
            motion=self._make_motion if config.fallback.motion else None, frame_s=1 / config.camera.fps)
        self.configured = self.chain if self._cloud or config.fallback.motion else None
        """The chain; None if no fallback is configured."""

    def parts(self) -> tuple[Part, ...]:
        """Return the parts to start and stop."""
        if self._cloud is None:
            return ()
        worker = Worker("cloud", self._cloud.run, on_end=self._on_end)

        def stop() -> None:
            self.chain.deactivate()    # drops the answer under way: nothing is published after the last health message
            worker.stop(CLOUD_STOP_S)
        return (Part("cloud", worker.start, stop, worker),)

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        if self._cloud is not None:
            self._cloud.reload(config)
        self._roi = region_of(config.camera.roi)    # before the call: the chain may make a motion detector just now
        self.chain.set_region(self._roi)

    def _make_motion(self) -> MotionDetector:
        from vedette.fallback.motion import MotionDetector  # late: it takes memory
        return MotionDetector(self._roi)


def _build_cloud(config: Config, state: Path, camera: Camera, clock: Clock, boot_id: str) -> CloudWorker:
    from vedette.fallback.breaker import Breaker  # late: they take memory
    from vedette.fallback.cloud_budget import Budget
    from vedette.fallback.cloud_client import CloudClient
    from vedette.fallback.cloud_worker import CloudWorker
    budget = Budget(state, config.cloud, clock, boot_id)
    client = CloudClient(config.cloud, config.detector, region_of(config.camera.roi), budget, clock)
    return CloudWorker(client, Breaker(config.cloud.interval_s), camera.copy_next, clock, config)
