"""The state of the camera: since when, why, and the health reasons that follow from it.

Invariants: pure but for the injected clock. A short trouble is reported for at least `NAMED_FOR_S`, so a reader that
checks twice a second sees it. Starting up is not a trouble.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.device.wall_clock import Since

if TYPE_CHECKING:
    from datetime import datetime

    from vedette.ports import Clock
    from vedette.types import CameraState, ReasonCode

log = logging.getLogger(__name__)

NAMED_FOR_S = 2.0
STARTING = "starting"
FROZEN = "the same picture again and again"
_REASONS: dict[CameraState, ReasonCode] = {"offline": "camera_offline", "stalled": "camera_stalled"}


class CameraStateTracker:
    """One state at a time. Changed by one thread; its fields may be read by any."""

    def __init__(self, clock: Clock) -> None:
        self.state: CameraState = "offline"
        self._since = Since(clock)
        self.cause: str | None = STARTING
        self._clock = clock
        self.interruptions = 0
        """Times it stopped capturing."""
        self._seen: tuple[ReasonCode, ...] = ()      # reasons that came with the last frame
        self._is_in_trouble = False
        self._named: dict[ReasonCode, str] = {}
        """The reason of the latest trouble, with its cause."""
        self._named_until_ns = 0

    def __repr__(self) -> str:
        return f"<CameraStateTracker {self.state}: {self.cause}>"

    @property
    def since(self) -> datetime:
        """When this state began, by the clock as it is set now."""
        return self._since.utc()

    def frame(self, reasons: tuple[ReasonCode, ...]) -> None:
        """A frame came, with the reasons that its picture gives."""
        self._seen, self._is_in_trouble = reasons, False
        frozen = "camera_frozen" in reasons
        self._change("frozen" if frozen else "capturing", FROZEN if frozen else None)

    def trouble(self, state: CameraState, cause: str) -> None:
        """No frames come, and this is the cause."""
        self._named = {_REASONS[state]: cause}
        self._named_until_ns = self._clock.monotonic_ns() + int(NAMED_FOR_S * 1e9)
        self._seen, self._is_in_trouble = (), True
        self._change(state, cause)

    def ended(self, cause: str) -> None:
        """The source was played to its end. That is not a trouble."""
        self._seen, self._is_in_trouble = (), False
        self._change("offline", cause, logging.INFO)

    def reasons(self) -> dict[ReasonCode, str]:
        """Return the reasons that hold now, each with its own cause."""
        is_named = self._is_in_trouble or self._clock.monotonic_ns() < self._named_until_ns
        reasons = dict(self._named) if is_named else {}
        return reasons | {code: FROZEN if code == "camera_frozen" else "" for code in self._seen}

    def _change(self, state: CameraState, cause: str | None, level: int = logging.WARNING) -> None:
        if (state, cause) == (self.state, self.cause):
            return
        if state == "capturing":
            log.info("camera: capturing")
        else:
            log.log(level, "camera %s: %s", state, cause)
        if state != self.state:
            self._since = Since(self._clock)
            self.interruptions += self.state == "capturing"
        self.state, self.cause = state, cause
