"""Puts the cloud fallback together, where it is enabled: nothing here is imported otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.device.board import boot_id
from vedette.fallback.breaker import Breaker
from vedette.fallback.cloud_budget import Budget
from vedette.fallback.cloud_client import CloudClient
from vedette.fallback.cloud_worker import CloudWorker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.ports import Camera, Clock
    from vedette.types import DetectionResult


def build_cloud(config: Config, state: Path, camera: Camera, on_result: Callable[[DetectionResult], object],
                clock: Clock) -> CloudWorker:
    """Return what the thread `cloud` runs. Its budget lies in the folder `state`."""
    budget = Budget(state, config.cloud, clock, boot_id())
    client = CloudClient(config.cloud, config.detector, config.camera.roi, budget, clock)
    return CloudWorker(client, Breaker(config.cloud.interval_s), camera.copy_next, on_result, clock,
                       max_age_ms=max_age_ms(config))


def max_age_ms(config: Config) -> float:
    """Return how old a result may be: a frame as old as any that is looked at, and a whole call."""
    return config.camera.max_frame_age_ms + config.cloud.deadline_s * 1000
