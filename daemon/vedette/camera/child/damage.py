"""Pictures of a source that cannot be decoded: which are skipped, and when the source counts as failed.

Invariants: a live source that gives nothing but damaged pictures fails before its owner takes it for hung. A film goes
on. The log names the first `LOGGED` of them, and from then on one a minute.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.camera.child.source import PictureDamaged
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

MARGIN_S = 0.5
NOTED_NS = 8_000_000_000
LOGGED = 10
LOG_AGAIN_NS = 60_000_000_000


class Damage:
    """The damaged pictures of one source after the other."""

    def __init__(self, stall_s: float, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._limit_ns = int((stall_s - MARGIN_S) * 1e9)
        self._now_ns = now_ns
        self._since_ns: int | None = None
        self._noted_until_ns = 0
        self._logged = self._not_logged = 0
        self._logged_ns = 0

    def skip(self, damaged: PictureDamaged, *, live: bool) -> None:
        """Note a damaged picture. Raises: the failure itself, if a live source has given nothing else for too long."""
        now_ns = self._now_ns()
        self._noted_until_ns = now_ns + NOTED_NS
        if self._since_ns is None:
            self._since_ns = now_ns
        if live and now_ns - self._since_ns >= self._limit_ns:
            self._since_ns = None
            raise damaged
        self._log(damaged, now_ns)

    def passed(self) -> None:
        """A picture was decoded."""
        self._since_ns = None

    def reasons(self, now_ns: int) -> tuple[ReasonCode, ...]:
        """Return the health reason code if a picture was damaged a moment ago."""
        return ("camera_damaged",) if now_ns < self._noted_until_ns else ()

    def _log(self, damaged: PictureDamaged, now_ns: int) -> None:
        if self._logged >= LOGGED and now_ns - self._logged_ns < LOG_AGAIN_NS:
            self._not_logged += 1
            return
        others = f"; {self._not_logged} others since the last such line" if self._not_logged else ""
        log.warning("picture skipped: %s%s", damaged, others)
        self._logged += 1
        self._logged_ns, self._not_logged = now_ns, 0
