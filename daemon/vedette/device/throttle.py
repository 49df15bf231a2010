"""Puts the governor's limit in force, and tells of each step.

Invariants: the main thread alone feeds it; what it tells may be read from any; disabled, no limit is in force.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.device.governor import NORMAL_TIMING, Governor, Limit
from vedette.device.wall_clock import Since
from vedette.messages import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.config.models import GovernorConfig
    from vedette.device.governor import GovernorTiming, Reading
    from vedette.messages.health_shapes import GovernorHealth
    from vedette.ports import Clock

log = logging.getLogger(__name__)


class Throttle:
    """`apply` puts so many frames a second in force, None: all; `detected` tells how many were looked at in this run.

    `full_per_s` is the rate until one is measured.
    """

    def __init__(self, config: GovernorConfig, clock: Clock, *, full_per_s: float,
                 apply: Callable[[float | None], None], detected: Callable[[], int],
                 timing: GovernorTiming = NORMAL_TIMING) -> None:
        self._clock = clock
        self._apply = apply
        self._detected = detected
        self._enabled = config.enabled
        self._governor = Governor(config.target_c, full_per_s, timing)
        self._since: Since | None = None
        self.limit = Limit()
        """In force. Any thread."""

    def configure(self, config: GovernorConfig) -> None:
        """Take a configuration read again."""
        self._enabled = config.enabled
        self._governor.target_c = config.target_c
        if not config.enabled:
            self._governor.give_up()
            self._put(Limit())

    def heed(self, reading: Reading) -> None:
        """Take what the board says now, every few seconds."""
        if self._enabled:
            self._put(self._governor.look(reading, self._detected(), self._clock.monotonic_ns() / 1e9))

    def reasons(self) -> dict[str, str]:
        """Return the health reason with its detail."""
        limit = self.limit
        return {"rate_lowered": f"to {limit.share:.0%}: {limit.why}"} if limit.step else {}

    def health(self) -> GovernorHealth:
        """Return what is in force."""
        limit, since = self.limit, self._since
        return {"step": limit.step, "share": limit.share,
                "limit_per_s": None if limit.per_s is None else round(limit.per_s, 2), "why": limit.why,
                "since": None if since is None else payloads.timestamp(since.utc())}

    def _put(self, limit: Limit) -> None:
        before, self.limit = self.limit, limit
        if limit.step == before.step:
            return
        self._since = Since(self._clock) if limit.step else None
        self._apply(limit.per_s)
        if limit.step > before.step:
            log.warning("detection lowered to %.0f %% (%.2f per second): %s", limit.share * 100, limit.per_s, limit.why)
        else:
            log.info("detection raised to %.0f %%", limit.share * 100)
