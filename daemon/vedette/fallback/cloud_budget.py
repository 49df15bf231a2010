"""The cloud's budget on disk: each call is saved before it is made.

Invariants:
- A kill or a power cut at any moment may cost calls that were never made, and never grants one twice.
- Wall time plays no part. The monotonic clock continues over a restart of the daemon. After a restart of the machine,
  the time without power does not count, so a day is never shorter than 24 hours.
- If the file cannot be read, the budget counts as spent; if it cannot be written, no call is made.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from vedette._lib.clock import CarriedClock
from vedette._lib.durable import replace_file
from vedette.errors import CloudBudgetSpent
from vedette.fallback.breaker import Allowance, Spent, charge, left

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.config.models import CloudConfig
    from vedette.ports import Clock

log = logging.getLogger(__name__)

FILE = "cloud-budget.json"


class _Saved(BaseModel):
    """`at_s` is the time of writing on the budget's clock, which is `offset_s` ahead of that boot's monotonic one."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    boot: str
    offset_s: float
    at_s: float
    windows: Annotated[
        list[tuple[float, NonNegativeInt, NonNegativeInt, NonNegativeInt]], Field(min_length=2, max_length=2)]


class Budget:
    """The calls and bytes of an hour and a day. One thread. `boot_id` names the present boot."""

    def __init__(self, folder: Path, cloud: CloudConfig, clock: Clock, boot_id: str) -> None:
        self._path = folder / FILE
        self._allowances = (Allowance("hour", 3600, cloud.per_hour, int(cloud.mb_per_hour * 1e6)),
                            Allowance("day", 86_400, cloud.per_day, int(cloud.mb_per_day * 1e6)))
        self._clock = CarriedClock(clock.monotonic_ns, boot_id)
        self.windows = self._load()

    def __repr__(self) -> str:
        return f"<Budget {self.windows}>"

    def charge(self, size: int, *, probe: bool) -> None:
        """Save a call that sends `size` bytes. Raises: CloudBudgetSpent if it must not be made."""
        windows = charge(self.windows, self._allowances, self._clock.now_s(), size, probe=probe)
        try:
            self._save(windows)
        except OSError as error:
            raise CloudBudgetSpent(f"{self._path}: the call cannot be saved, so it is not made: "
                                   f"{error.strerror}") from error
        self.windows = windows

    def left(self) -> tuple[Allowance, ...]:
        """Return what the hour and the day still allow. Any thread."""
        return left(self.windows, self._allowances, self._clock.now_s())

    def _load(self) -> tuple[Spent, ...]:
        try:
            saved = _Saved.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return tuple(Spent(self._clock.now_s()) for _ in self._allowances)
        except (OSError, ValidationError) as error:
            log.error("%s cannot be read, so the cloud counts as used up for a day: %s", self._path, _cause(error))
            return tuple(Spent(self._clock.now_s(), each.calls, each.probes, each.bytes) for each in self._allowances)
        self._clock.resume(saved.boot, saved.offset_s, saved.at_s)
        return tuple(Spent(*window) for window in saved.windows)

    def _save(self, windows: tuple[Spent, ...]) -> None:
        saved = _Saved(boot=self._clock.boot_id, offset_s=self._clock.offset_s, at_s=self._clock.now_s(),
                       windows=[(each.began_s, each.calls, each.probes, each.bytes) for each in windows])
        replace_file(self._path, saved.model_dump_json().encode())


def _cause(error: OSError | ValidationError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else error.errors()[0]["msg"]
