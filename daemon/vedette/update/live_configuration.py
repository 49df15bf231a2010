"""Which signed configuration the daemon runs with: at its start, and while it runs.

Invariants: the device's own keys are valid without the signed ones, or nothing is decided; a signed configuration that
cannot be used with them is left, so that the device starts all the same; the main thread alone changes what runs, and
what runs follows the store.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.config.signed import check_signed
from vedette.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vedette.config.load import Loaded
    from vedette.config.reload import Reloader
    from vedette.config.signed import Signed
    from vedette.ports import Clock
    from vedette.store.configurations import ConfigurationStore, InstalledConfiguration

    Load = Callable[[Signed | None], Loaded]
    """Returns the configuration with these signed keys. Raises: ConfigError."""

log = logging.getLogger(__name__)

RETRY_AFTER_S = 10.0
"""The pause after a reload that was refused: somebody is editing the device's own file."""


def configuration_at_start(store: ConfigurationStore, local: Loaded, load: Load, *, boot_id: str,
                           now: datetime) -> Loaded:
    """Return the configuration of this start, and count the start if it is on trial. `local`: without signed keys."""
    if local.config.update.source is None:
        return local
    store.start(boot_id, now)
    while (signed := store.signed) is not None:
        try:
            check_signed(signed.values)
            return load(signed)
        except ConfigError as error:
            store.roll_back(f"it cannot be used at this start: {error.problems[0]}", now, "invalid")
    return local


class LiveConfiguration:
    """Update thread only, but for `running`. `call` runs something on the main thread soon."""

    def __init__(self, store: ConfigurationStore, reloader: Reloader, load: Load, clock: Clock,
                 call: Callable[[Callable[[], None]], None]) -> None:
        self.running: InstalledConfiguration | None = store.state.active
        """The signed configuration that runs. Any thread."""
        self._store = store
        self._reloader = reloader
        self._load = load
        self._clock = clock
        self._call = call
        self._is_ordered = False
        self._retry_ns = 0

    def __repr__(self) -> str:
        return f"<LiveConfiguration {self.running.release if self.running else None}>"

    @property
    def is_matched(self) -> bool:
        """Whether that runs which the store says. Any thread."""
        running, wanted = self.running, self._store.state.active
        return (running.sha256 if running else None) == (wanted.sha256 if wanted else None)

    def match(self) -> bool:
        """Have the main thread take what the store says, unless it runs already; returns whether it does."""
        if self.is_matched:
            return True
        if not self._is_ordered and self._clock.monotonic_ns() >= self._retry_ns:
            self._is_ordered = True
            self._call(self._take)
        return False

    def problem_with(self, signed: Signed) -> str | None:
        """Return why these signed keys cannot be used on this device; None if they can.

        Raises: ConfigError if the device's own keys are wrong, so that nothing can be said of the signed ones.
        """
        try:
            self._load(signed)
        except ConfigError as error:
            self._load(None)
            return error.problems[0]
        return None

    def _take(self) -> None:
        """Main thread."""
        wanted = self._store.state.active
        if self._reloader.reload():
            self.running = wanted
            log.info("signed configuration: %s", f"release {wanted.release}" if wanted else "none")
        else:
            self._retry_ns = self._clock.monotonic_ns() + int(RETRY_AFTER_S * 1e9)
        self._is_ordered = False
