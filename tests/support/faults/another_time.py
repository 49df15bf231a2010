"""Another wall clock for a process: libfaketime, set at the start or stepped while it runs; monotonic clocks stay."""

from __future__ import annotations

from pathlib import Path

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""None where it is not installed (Debian's `faketime`)."""


def faked(setting: str) -> dict[str, str]:
    """The variables of a process whose clock has an offset (`+3650d`) or a beginning (`@2016-01-01 00:00:00`)."""
    return {**_common(), "FAKETIME": setting}


class SteppedClock:
    """A clock that the test steps with a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step("+0")

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a process with this clock; none if libfaketime is not installed."""
        return {**_common(), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1"} if LIBRARY else {}

    def step(self, setting: str) -> None:
        """Set it to this distance from the true time, such as `-3650d`."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(setting + "\n")
        fresh.rename(self._file)


def _common() -> dict[str, str]:
    return {"LD_PRELOAD": str(LIBRARY), "DONT_FAKE_MONOTONIC": "1"}
