"""The budget on disk: restarts of the daemon and of the machine, damage, and disks that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fakes import FakeClock
from tests.support.network.clouds import config
from vedette.errors import CloudBudgetSpent
from vedette.fallback.cloud_budget import FILE, Budget

DAY_S = 86_400


def budget(folder: Path, clock: FakeClock, boot_id: str = "one", **limits: int) -> Budget:
    return Budget(folder, config(folder, "https://x/", **{"per_hour": 1000, "per_day": 5, **limits}), clock, boot_id)


def spend(of: Budget, calls: int) -> None:
    for _ in range(calls):
        of.charge(100, probe=False)


def test_a_restart_keeps_the_spent_amount(tmp_path: Path) -> None:
    """A run cannot spend again within a day the amount that an earlier run spent."""
    clock = FakeClock()
    spend(budget(tmp_path, clock), 3)
    clock.advance(3600)
    again = budget(tmp_path, clock)
    spend(again, 2)
    with pytest.raises(CloudBudgetSpent, match="calls of this day"):
        spend(again, 1)
    clock.advance(DAY_S - 3600 - 1)
    with pytest.raises(CloudBudgetSpent):
        spend(budget(tmp_path, clock), 1)
    clock.advance(2)
    spend(budget(tmp_path, clock), 5)


def test_a_reboot_does_not_shorten_the_day(tmp_path: Path) -> None:
    """The new boot's clock counts from where the old one wrote: only time that certainly passed."""
    clock = FakeClock()
    clock.advance(500_000)
    spend(budget(tmp_path, clock), 5)
    booted = FakeClock()                  # a second after the boot
    with pytest.raises(CloudBudgetSpent):
        spend(budget(tmp_path, booted, "two"), 1)
    booted.advance(DAY_S - 3)
    with pytest.raises(CloudBudgetSpent):
        spend(budget(tmp_path, booted, "two"), 1)
    booted.advance(3)
    spend(budget(tmp_path, booted, "two"), 1)


def test_many_reboots_do_not_lengthen_it_for_ever(tmp_path: Path) -> None:
    """The uptimes of all boots that wrote add up."""
    clock = FakeClock()
    spend(budget(tmp_path, clock, per_day=30), 1)
    for boot in range(30):
        clock = FakeClock()
        clock.advance(3600)
        spend(budget(tmp_path, clock, f"boot {boot}", per_day=30), 1)
    assert budget(tmp_path, clock, "boot 29", per_day=30).windows[1].calls < 10


def test_the_budget_is_written_before_the_call(tmp_path: Path) -> None:
    """When `charge` returns, another process already reads it, in both windows."""
    clock = FakeClock()
    one = budget(tmp_path, clock, per_day=500)
    for calls in (1, 2, 3):
        one.charge(1000, probe=True)
        seen = budget(tmp_path, clock, per_day=500).windows
        assert [(each.calls, each.probes, each.bytes) for each in seen] == [(calls, calls, calls * 1000)] * 2


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    """A megabyte in the configuration is a million bytes."""
    one = budget(tmp_path, FakeClock(), mb_per_hour=1)
    one.charge(600_000, probe=False)
    with pytest.raises(CloudBudgetSpent, match="bytes of this hour are used up: expected at most 1000000"):
        one.charge(600_000, probe=False)
    one.charge(400_000, probe=False)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 200, b'{"boot": "one", "offset_s": 0, "at_s": NaN}',
                                     b'{"boot":"one","offset_s":0.0,"at_s":1.0,"windows":[[1.0,-9,0,0],[1.0,0,0,0]]}'])
def test_a_damaged_file_counts_as_spent(tmp_path: Path, content: bytes) -> None:
    """It counts as spent for a day, and no new file replaces it."""
    (tmp_path / FILE).write_bytes(content)
    clock = FakeClock()
    one = budget(tmp_path, clock)
    for probe in (False, True):
        with pytest.raises(CloudBudgetSpent):
            one.charge(1, probe=probe)
    assert (tmp_path / FILE).read_bytes() == content
    clock.advance(DAY_S + 1)
    one.charge(1, probe=False)
    assert budget(tmp_path, clock).windows[1].calls == 1


def test_a_budget_that_cannot_be_written_allows_no_call(tmp_path: Path) -> None:
    """Without the state folder calls are refused; they are granted again once it is back."""
    folder = tmp_path / "state"
    folder.mkdir()
    one = budget(folder, FakeClock())
    for each in (*folder.iterdir(), folder):
        each.rmdir() if each.is_dir() else each.unlink()
    with pytest.raises(CloudBudgetSpent, match="cannot be saved, so it is not made: No such file"):
        one.charge(1, probe=False)
    folder.mkdir()
    one.charge(1, probe=False)
    assert one.windows[0].calls == 1
