"""The file of drift: of fixed size, used only if complete, and never more than an hour old."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drift.drift_parts import BOOT, Site, outline
from tests.support.fakes import FakeClock
from vedette.drift.feedback import KEPT, LABEL_BYTES, Feedback
from vedette.drift.hours import KEPT_HOURS
from vedette.drift.ledger import FILE, SIZE, Ledger
from vedette.drift.picture import REFERENCES, Picture, Reference
from vedette.drift.scores import LABELS, OTHER, ModelScores


def full(ledger: Ledger) -> None:
    """Fill it completely, with the longest values."""
    rng = random.Random(1)
    for key in ("a" * 100, "b" * 100):
        model = ledger.model(key)
        for hour in range(KEPT_HOURS + 5):
            now_s = 1e7 + hour * 3600.0
            model.add_invoke_ms(now_s, 12345.6789)
            model.add_scores(now_s, {f"{number:03}" + "\x01" * 97: (20_000_000, rng.random() * 2e7)
                                     for number in range(LABELS + 20)})
        model.fold(now_s)
        model.sunk = list(model.labels)
    picture = ledger.picture = Picture(key="k" * 100)
    picture.references = [Reference(outline=outline(each).hex(), brightness=123.4, detail=12345.67, focus=0.1234,
                                    matched_s=1234567.891) for each in range(REFERENCES)]
    for word in range(KEPT + 10):
        ledger.feedback.add(1e7, 4_000_000_000, 4_000_000_000 + word, right=False, label='"' * LABEL_BYTES)


def test_the_size_of_the_file_is_constant(tmp_path: Path) -> None:
    """The size is the same, empty or full."""
    ledger = Ledger(tmp_path / FILE, FakeClock(), BOOT)
    assert len(ledger.content()) == SIZE
    full(ledger)
    ledger.save(ledger.content())
    assert (tmp_path / FILE).stat().st_size == SIZE
    again = Ledger(tmp_path / FILE, FakeClock(), BOOT)
    assert (again.models, again.picture, again.feedback) == (ledger.models, ledger.picture, ledger.feedback)


def test_a_written_file_is_always_readable(tmp_path: Path) -> None:
    """Three weeks with more labels than may have names, written hourly: nothing grows, and the next start reads it."""
    ledger = Ledger(tmp_path / FILE, FakeClock(), BOOT)
    model = ledger.model("k")
    for hour in range(3 * KEPT_HOURS):
        model.add_scores(hour * 3600.0, {f"{number}": (number, number / 2) for number in range(1, LABELS + 5)})
        model.fold(hour * 3600.0)
    assert max(len(series.hours.sums) for series in model.labels.values()) == KEPT_HOURS
    ledger.save(ledger.content())
    assert Ledger(tmp_path / FILE, FakeClock(), BOOT).models == ledger.models


@pytest.mark.parametrize("spoil", [
    lambda whole: b"", lambda whole: whole[:1000], lambda whole: whole[:-1], lambda whole: whole + b" ",
    lambda whole: b"\0" * SIZE, lambda whole: whole.replace(b"drift 1 ", b"drift 2 ", 1),
    lambda whole: whole.replace(b"street", b"STREET"), lambda whole: whole[:100] + b"}" + whole[101:],
    lambda whole: b"vedette drift 1 00000000 x".ljust(SIZE), lambda whole: random.Random(3).randbytes(SIZE)])
def test_an_incomplete_file_is_reported_and_replaced(tmp_path: Path, spoil: Callable[[bytes], bytes],
                                                          caplog: pytest.LogCaptureFixture) -> None:
    """A torn, empty, random or later file is never an error, and the next write replaces it."""
    site = Site(tmp_path, scores=lambda day: {"street": 0.8})
    site.run(60)
    site.stop()
    site.path.write_bytes(spoil(site.path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        site.start()
    assert "learnt again" in caplog.text
    assert site.watch.health()["labels"] == {}
    site.run(50)
    site.stop()
    site.start()
    assert site.watch.health()["labels"]["street"]["baseline"] == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(20))
def test_any_damage_is_detected(tmp_path: Path, seed: int) -> None:
    """One wrong bit anywhere in the content is found."""
    site = Site(tmp_path, scores=lambda day: {"street": 0.8})
    site.run(5)
    site.stop()
    content = bytearray(site.path.read_bytes())
    used = len(bytes(content).rstrip())
    content[random.Random(seed).randrange(used)] ^= 1 << seed % 8
    site.path.write_bytes(content)
    site.start()
    assert site.watch.health()["labels"] == {}


def test_a_kill_loses_the_last_hour_at_most(tmp_path: Path) -> None:
    """Without an orderly stop only the values of the last hour are lost."""
    site = Site(tmp_path, scores=lambda day: {"person": 0.8})
    site.run(10)
    site.stop()
    site.run(1)
    assert site.watch.health()["labels"]["person"]["count"] == 44
    site.start()
    assert site.watch.health()["labels"]["person"]["count"] == 40


def test_a_daemon_that_never_runs_for_an_hour_learns_too(tmp_path: Path) -> None:
    """Killed every 50 minutes for two days: the hour counts from the last write, of any run."""
    site = Site(tmp_path)
    writings = 0
    for _ in range(58):
        for _ in range(50):
            site.clock.advance(60)
            site.see("person", 0.8, 1)
            site.watch.step()
            if site.watch.save_due:
                site.watch.save()
                writings += 1
        site.start()
    assert 40 <= writings <= 49
    assert site.watch.health()["labels"]["person"]["count"] > 15 * writings     # a kill costs what came since


def test_a_disk_that_fails_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is reported, and everything continues in memory."""
    site = Site(tmp_path / "state", scores=lambda day: {"person": 0.8})
    site.path.parent.rmdir()
    site.run(60)
    site.stop()
    assert "are not saved" in caplog.text
    assert site.watch.health()["labels"]["person"]["baseline"] == pytest.approx(0.8)
    site.path.parent.mkdir()
    site.stop()
    site.start()
    assert site.watch.health()["labels"]["person"]["baseline"] == pytest.approx(0.8)


def test_labels_are_bounded_and_the_frequent_ones_keep_their_names() -> None:
    """A hundred rare labels and three frequent ones, one of them late: these have names; every result is counted."""
    model = ModelScores(key="k")
    given = 0
    for hour in range(160):
        now_s = hour * 3600.0
        rare = {f"rare {number}": (1, 0.5) for number in range(hour % 2, 100, 2)}
        often = dict.fromkeys(("person", "car"), (20, 15.0)) | ({"dog": (200, 100.0)} if hour > 150 else {})
        given += sum(number for number, _ in (rare | often).values())
        model.add_scores(now_s, often | rare)
        model.fold(now_s)
        assert len(model.labels) == LABELS + 1
    assert {"person", "car", "dog", OTHER} <= model.labels.keys()
    assert sum(series.hours.read(160 * 3600.0)[0] for series in model.labels.values()) == given


def test_feedback_is_counted_once_for_each_result() -> None:
    """A repeated judgement changes nothing, another one for the same result replaces it, old ones are dropped."""
    feedback = Feedback()
    assert [feedback.add(0, 1, seq, right=seq % 4 > 0) for seq in range(1, 9)] == [True] * 8
    assert feedback.add(0, 1, 3, right=True) is False
    assert feedback.read(0) == (8, 2)
    assert feedback.add(0, 1, 3, right=False) is True
    assert feedback.read(0) == (8, 3)
    assert feedback.read(8 * 86_400) == (0, 0)
