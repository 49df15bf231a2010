"""Applies the governor's limit to the flow, and reports each step.

Invariants: the main thread alone calls `on_reading` and `reload`; any thread may read; when disabled, no limit applies.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.device.governor import NORMAL_TIMING, Governor, Limit
from vedette.device.wall_clock import Since
from vedette.messages import payloads

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.device.governor import GovernorTiming, Reading
    from vedette.messages.health_shapes import GovernorHealth
    from vedette.ports import Clock, Flow
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)


class Throttle:
    """A ports.ReasonSource. The full rate is `camera.fps` until a rate is measured."""

    def __init__(self, config: Config, flow: Flow, clock: Clock, timing: GovernorTiming = NORMAL_TIMING) -> None:
        self.limit = Limit()
        """The limit that applies now. Any thread."""
        self._flow = flow
        self._clock = clock
        self._enabled = config.governor.enabled
        self._governor = Governor(config.governor.target_c, config.camera.fps, timing)
        self._since: Since | None = None
        self._still = 0

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration."""
        self._enabled = config.governor.enabled
        self._governor.target_c = config.governor.target_c
        if not self._enabled:
            self._governor.reset()
            self._apply(Limit())

    def on_reading(self, reading: Reading) -> None:
        """Apply the governor's decision about a new reading of the board."""
        if self._enabled:
            before, self._still = self._still, self._flow.all_dropped().get("still", 0)
            self._apply(self._governor.update(reading, self._flow.detected, self._clock.monotonic_ns() / 1e9,
                                              rests=self._still != before))

    def governed(self) -> bool:
        """Return whether a limit applies now. Any thread."""
        return self.limit.step > 0

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        limit = self.limit
        return {"rate_lowered": f"to {limit.share:.0%}: {limit.why}"} if limit.step else {}

    def health(self) -> GovernorHealth:
        """Return the section of the health message."""
        limit, since = self.limit, self._since
        return {"step": limit.step, "share": limit.share,
                "limit_per_s": None if limit.per_s is None else round(limit.per_s, 2), "why": limit.why,
                "since": None if since is None else payloads.timestamp(since.utc())}

    def _apply(self, limit: Limit) -> None:
        before, self.limit = self.limit, limit
        if limit.step == before.step:
            return
        self._since = Since(self._clock) if limit.step else None
        self._flow.limit(limit.per_s)
        if limit.step > before.step:
            log.warning("detection lowered to %.0f %% (%.2f per second): %s", limit.share * 100, limit.per_s, limit.why)
        else:
            log.info("detection raised to %.0f %%", limit.share * 100)
