"""Puts the fallbacks together: the chain, and the thread of the cloud.

Invariant: nothing of what is not configured is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette._lib.worker import Worker
from vedette.fallback.chain import FallbackChain
from vedette.supervisor import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.fallback.cloud_worker import CloudWorker
    from vedette.fallback.motion import MotionDetector
    from vedette.ports import Camera, Clock
    from vedette.types import DetectionResult

CLOUD_STOP_S = 2.0
"""A call that takes longer is left behind: nobody wants its answer."""


class Fallbacks:
    """The chain and its parts. `tell` hears the cloud's results, and returns False for one that comes too late."""

    def __init__(self, config: Config, state: Path, camera: Camera, clock: Clock, *,
                 tell: Callable[[DetectionResult], bool], on_end: Callable[[Worker], None]) -> None:
        self._roi = config.camera.roi
        self._on_end = on_end
        self._cloud = _build_cloud(config, state, camera, clock, tell) if config.cloud.enabled else None
        self.chain = FallbackChain(
            clock, cloud=self._cloud, interval_s=config.cloud.interval_s,
            motion=self._make_motion if config.fallback.motion else None, frame_s=1 / config.camera.fps)
        self.fallback = self.chain if self._cloud or config.fallback.motion else None
        """None where no fallback is configured."""

    def parts(self) -> tuple[Part, ...]:
        """Return what has to be started and stopped."""
        if self._cloud is None:
            return ()
        worker = Worker("cloud", self._cloud.run, on_end=self._on_end)

        def stop() -> None:
            self.chain.deactivate()    # the answer under way is dropped, so nothing is told behind the last health
            worker.stop(CLOUD_STOP_S)
        return (Part("cloud", worker.start, stop, worker),)

    def reload(self, config: Config) -> None:
        """Take the live keys of a configuration read again. Any thread."""
        if self._cloud is not None:
            from vedette.fallback.cloud_build import max_age_ms
            self._cloud.reload(config.detector, max_age_ms(config))

    def _make_motion(self) -> MotionDetector:
        from vedette.fallback.motion import MotionDetector  # late: nothing of it is in memory where it is off
        return MotionDetector(self._roi)


def _build_cloud(config: Config, state: Path, camera: Camera, clock: Clock,
                 tell: Callable[[DetectionResult], bool]) -> CloudWorker:
    from vedette.fallback.cloud_build import build_cloud  # late, as above
    return build_cloud(config, state, camera, tell, clock)
