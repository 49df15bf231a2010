"""The page's history: what is kept, what goes, and what a bad file or disk costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vedette.page.history import Filter, History

NOW = "2026-11-30T12:00:00.000Z"


def event(number: int, *, kind: str = "start", run: int = 1, seq: int | None = None, **more: Any) -> dict[str, Any]:
    """The message of an event that began so many seconds after noon."""
    return {"device": "gate", "id": f"1-{number}", "began": f"2026-11-30T12:{number // 60:02}:{number % 60:02}.000Z",
            "label": "person", "run": run, "seq": number if seq is None else seq, "type": kind, "entered": [], **more}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    one = History(tmp_path / "history.sqlite", days=7, mb=1)
    yield one
    one.close()


def put(history: History, payload: dict[str, Any], *, picture: bytes | None = None) -> None:
    history.put_event(payload, scores=None, picture=picture)


def ids(history: History, **wanted: Any) -> list[str]:
    return [each["id"] for each in history.events(Filter("gate", **wanted))]


def test_the_newest_message_of_an_event_is_kept(history: History) -> None:
    """An older one that comes late changes nothing; one of a later run does."""
    put(history, event(1, kind="end", seq=5))
    put(history, event(1, seq=4))
    assert [each["type"] for each in history.events(Filter("gate"))] == ["end"]
    put(history, event(1, kind="update", run=2, seq=1))
    assert [each["type"] for each in history.events(Filter("gate"))] == ["update"]


def test_scores_and_picture_stay_when_a_message_brings_none(history: History) -> None:
    """What is known of an event is never lost by a later message."""
    history.put_event(event(1, seq=1), scores=[(0.5, 0.7)], picture=b"jpeg")
    put(history, event(1, kind="end", seq=2))
    (kept,) = history.events(Filter("gate"))
    assert (kept["type"], kept["scores"], kept["picture"]) == ("end", [[0.5, 0.7]], True)
    assert history.picture("gate", "1-1") == b"jpeg"


def test_events_come_newest_first_and_in_pages(history: History) -> None:
    """Each page begins where the one before has ended, also among events that began in the same moment."""
    for number in (1, 2, 3, 4):
        put(history, {**event(number), "began": NOW})
    first = history.events(Filter("gate", limit=3))
    last = first[-1]
    assert [each["id"] for each in first] == ["1-4", "1-3", "1-2"]
    assert ids(history, before=(last["began"], last["id"])) == ["1-1"]


def test_label_and_zone_filter(history: History) -> None:
    """A zone means that the thing has entered it."""
    put(history, event(1, entered=["drive"]))
    put(history, event(2, label="car"))
    put(history, {**event(3), "device": "yard"})
    assert ids(history, label="car") == ["1-2"]
    assert ids(history, zone="drive") == ["1-1"]
    assert history.labels("gate") == ["car", "person"]


def test_it_says_since_when_it_records(history: History) -> None:
    """A time before the first minute of a device is not one in which nothing happened."""
    assert history.oldest_minute("gate") is None
    history.put_minute("gate", 120, {})
    history.put_minute("gate", 60, {})
    history.put_minute("yard", 0, {})
    assert (history.oldest_minute("gate"), history.newest_minute("gate")) == (60, 120)


def test_what_is_too_old_goes(history: History) -> None:
    """Events, minutes and blind times of more than seven days."""
    put(history, event(1))
    put(history, {**event(2), "began": "2026-11-20T12:00:00.000Z"})
    for day in (20, 30):
        history.put_minute("gate", 1_796_040_000 - (30 - day) * 86_400, {"state": "ok"})
        history.begin_blind("gate", f"2026-11-{day}T11:00:00.000Z", "paused")
        history.end_blind("gate", f"2026-11-{day}T11:30:00.000Z")
    history.prune(NOW)
    assert ids(history) == ["1-1"]
    assert [at for at, _ in history.minutes("gate", 0)] == [1_796_040_000]
    assert [each["from"] for each in history.blind("gate", "")] == ["2026-11-30T11:00:00.000Z"]


def test_what_a_wrong_clock_left_in_the_future_goes(history: History) -> None:
    """Else it would be the newest for years. What is only a few days ahead may be right, and the clock late."""
    for began in ("2030-01-01T00:00:00.000Z", "2026-12-03T00:00:00.000Z"):
        put(history, {**event(1), "id": began, "began": began})
        history.begin_blind("gate", began, "paused")
    for days in (3, 30):
        history.put_minute("gate", 1_796_040_000 + days * 86_400, {"state": "ok"})
    history.prune(NOW)
    assert ids(history) == ["2026-12-03T00:00:00.000Z"]
    assert [at for at, _ in history.minutes("gate", 0)] == [1_796_040_000 + 3 * 86_400]
    assert [each["from"] for each in history.blind("gate", "")] == ["2026-12-03T00:00:00.000Z"]


def test_the_file_stays_small_and_the_oldest_goes_first(history: History, tmp_path: Path,
                                                        caplog: pytest.LogCaptureFixture) -> None:
    """Ten megabytes of pictures leave the newest, in one megabyte, and nothing is refused. The log says what goes."""
    for number in range(1, 201):
        put(history, event(number), picture=bytes(50_000))
    kept = ids(history, limit=200)
    assert kept[0] == "1-200"
    assert kept == [f"1-{number}" for number in range(200, 200 - len(kept), -1)]
    assert 5 <= len(kept) <= 20
    assert (tmp_path / "history.sqlite").stat().st_size <= 1_000_000
    assert "the oldest tenth goes" in caplog.text


def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new history is begun, and the old file stays for whoever wants it."""
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"no database at all" * 100)
    history = History(path, days=7, mb=1)
    put(history, event(1))
    assert ids(history) == ["1-1"]
    assert path.with_suffix(".damaged").read_bytes().startswith(b"no database")
    assert "set aside" in caplog.text
    history.close()


def test_a_file_that_is_damaged_inside_is_set_aside(tmp_path: Path) -> None:
    """Damage that shows only while it is read costs the old history, and not the page."""
    path = tmp_path / "history.sqlite"
    history = History(path, days=7, mb=4)
    for number in range(1, 100):
        put(history, event(number), picture=bytes(20_000))
    history.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    history = History(path, days=7, mb=4)
    assert ids(history) == []
    put(history, event(1))
    assert ids(history) == ["1-1"]
    history.close()


def test_a_file_that_somebody_removes_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else the page would write on into a file without a name, and lose all of it at its end."""
    path = tmp_path / "history.sqlite"
    history = History(path, days=7, mb=1)
    put(history, event(1))
    path.unlink()
    history.prune(NOW)
    put(history, event(2))
    history.close()
    assert "a new history is begun" in caplog.text
    history = History(path, days=7, mb=1)
    assert ids(history) == ["1-2"]
    history.close()


def test_a_disk_that_cannot_be_read_costs_the_history_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The page goes on, with a history in memory."""
    history = History(tmp_path / "history.sqlite", days=7, mb=10)
    for number in range(1, 60):
        put(history, event(number), picture=bytes(100_000))
    with Path(os.devnull).open("wb") as unreadable:
        for each in Path("/proc/self/fd").iterdir():
            if os.path.realpath(each) == str(tmp_path / "history.sqlite"):      # its lock file would cost ten seconds
                os.dup2(unreadable.fileno(), int(each.name))
    assert history.picture("gate", "1-1") is None
    assert history.oldest_minute("gate") is None
    assert "in memory only" in caplog.text
    put(history, event(1))
    assert ids(history) == ["1-1"]
    history.close()


def test_a_folder_that_cannot_be_written_leaves_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The page still has a history, until it ends."""
    history = History(tmp_path / "away" / "history.sqlite", days=7, mb=1)
    put(history, event(1))
    assert ids(history) == ["1-1"]
    assert "in memory only" in caplog.text
    history.close()


def test_it_survives_a_restart(tmp_path: Path) -> None:
    """What was kept is there again, and an unfinished blind time is ended by the next."""
    path = tmp_path / "history.sqlite"
    history = History(path, days=7, mb=1)
    put(history, event(1))
    history.begin_blind("gate", NOW, "paused")
    history.close()
    history.close()
    history = History(path, days=7, mb=1)
    assert ids(history) == ["1-1"]
    history.end_blind("gate", "2026-11-30T12:05:00.000Z")
    assert [each["to"] for each in history.blind("gate", NOW)] == ["2026-11-30T12:05:00.000Z"]
    history.close()


def test_no_more_rows_than_a_page_may_have(history: History) -> None:
    """However many somebody wants."""
    for number in range(1, 251):
        put(history, event(number))
    assert len(ids(history, limit=10_000)) == 200
