"""The files of rollouts: a record survives its file, one process leads, a log line is one line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vedette.errors import FleetBusy, FleetError, StateUnusable
from vedette.fleet.rollout import Plan, RolloutState
from vedette.fleet.rolls import FOLDER, Order, RollRecord, Stamp, led, log_line, newest_of, read, write_log
from vedette.store.release import Release

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
PLAN = Plan(steps=(100, 1000, 10_000), soak_s=7200, max_failed=0.03, min_good=20)
ORDER = Order(sha256="a" * 64, terms={"tags": ["north"], "trial": {"minutes": "0.5"}}, plan=PLAN, destination="/www")
RELEASE = Release(name="street", version="4", release=7, device_classes=("default",), channel="stable", salt="x")
RECORD = RollRecord(order=ORDER, release=RELEASE, devices=("gate-1", "gate-2"), left_out={"gate-2": "silent"},
                    state=RolloutState(release=7, step=2, end=1000, passed=100, reached=2, published_at=NOW),
                    stamp=Stamp(boot="b", offset_s=0, at_s=77.5), was_published=True)


def put(fleet: Path, record: RollRecord) -> None:
    for name, content in record.serialize().items():
        (fleet / name).parent.mkdir(exist_ok=True)
        (fleet / name).write_bytes(content)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field; without a file there was no rollout."""
    put(tmp_path, RECORD)
    assert read(tmp_path, 7) == RECORD
    assert read(tmp_path, 8) is None


def test_the_newest_rollout_of_a_file(tmp_path: Path) -> None:
    """Rollouts of other files or to other devices, logs and locks are none; other conditions make no other rollout."""
    assert newest_of(tmp_path, ORDER) is None
    other = ORDER.model_copy(update={"sha256": "b" * 64})
    south = ORDER.model_copy(update={"terms": {"tags": ["south"]}})
    longer = ORDER.model_copy(update={"terms": {"tags": ["north"], "trial": {"minutes": "60"}}})
    for number, order in ((9, ORDER), (10, longer), (11, other), (12, south)):
        put(tmp_path, RECORD.model_copy(update={"order": order}).stated(release=number))
    (tmp_path / FOLDER / "12.lock").touch()
    newest = newest_of(tmp_path, ORDER)
    assert newest is not None
    assert newest.number == 10


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """Nothing goes on from it."""
    put(tmp_path, RECORD)
    (tmp_path / FOLDER / "7.json").write_text("{")
    with pytest.raises(FleetError, match=r"rolls/7\.json: .*backup"):
        newest_of(tmp_path, ORDER)


def test_one_process_leads_a_rollout(tmp_path: Path) -> None:
    """Another one is refused until it has ended; another rollout is another matter."""
    with led(tmp_path, 7):
        with pytest.raises(FleetBusy, match="release 7"), led(tmp_path, 7):
            pass
        with led(tmp_path, 8):
            pass
    with led(tmp_path, 7):
        pass


@pytest.mark.parametrize(("phase", "published", "over"), [
    ("rolling", True, False), ("asking", True, False), ("stopping", False, False), ("stopped", False, False),
    ("stopped", True, True), ("done", True, True), ("ended", False, True)])
def test_a_stop_is_over_when_it_is_published(phase: str, published: bool, over: bool) -> None:
    """Until then devices may still take the release."""
    assert RECORD.stated(phase=phase, published_at=NOW if published else None).is_over == over


def test_a_log_line_is_one_line(tmp_path: Path) -> None:
    """A code that a device has made up cannot forge a decision."""
    line = log_line(7, NOW, "stops: of 2 devices 1 failed (x\n2026-11-30 done \x1b[2J 1)")
    assert line == "2026-11-30 12:00:00Z  release 7: stops: of 2 devices 1 failed (x�2026-11-30 done �[2J 1)"
    (tmp_path / FOLDER).mkdir()
    write_log(tmp_path, 7, line)
    write_log(tmp_path, 7, "another")
    assert (tmp_path / FOLDER / "7.log").read_text().splitlines() == [line, "another"]
    with pytest.raises(StateUnusable):
        write_log(tmp_path / "nowhere", 7, line)
