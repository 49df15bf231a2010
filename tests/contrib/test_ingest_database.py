"""What contrib/ingest does with PostgreSQL: each row once, a bad row aside, the right day, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.faults import small_disk
from tests.support.network.ingest import encoded
from tests.support.network.postgres import Postgres, needed, running

psycopg = pytest.importorskip("psycopg")
database = pytest.importorskip("contrib.ingest.database")
days = pytest.importorskip("contrib.ingest.days")

TOPIC = "vedette/gate-01/detections"


class Scene:
    """A database on the server, and the program's side of it."""

    def __init__(self, server: Postgres, name: str = "postgres") -> None:
        self.server = server
        self.name = name
        self.database = database.Database(server.conninfo(self.name), keep_days=30)

    def write(self, *payloads: bytes, topic: str = TOPIC) -> None:
        self.database.write([database.Message(topic, payload) for payload in payloads])

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.server.query(query, *values, database=self.name)

    def places(self) -> dict[int, str]:
        """Return the partition of each result, by its number."""
        return dict(self.query("SELECT seq, tableoid::regclass::text FROM results"))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running(needed(), "fsync=off", "shared_buffers=16MB") as postgres:
        yield postgres


@pytest.fixture
def scene(server: Postgres) -> Iterator[Scene]:
    made = Scene(server)
    with closing(made.database):
        yield made
    server.query("TRUNCATE results, events, rejected")


def day(days_from_now: int) -> datetime:
    return datetime.now(UTC) + timedelta(days_from_now)


def result(seq: int, at: datetime | str | None, **more: Any) -> bytes:
    return encoded("detections", seq, at.isoformat() if isinstance(at, datetime) else at, **more)


def test_a_repeat_is_written_once(scene: Scene) -> None:
    """Within a batch, in a later one, and by another program; the same number of another run or device is no repeat."""
    at = day(0)
    scene.write(*(result(seq, at) for seq in (1, 2, 1)), result(1, at, run=2))
    scene.write(result(1, at, device="gate-02"), topic="vedette/gate-02/detections")
    scene.write(*(encoded("events", 5, run=3),) * 2, topic="vedette/gate-01/events")
    with closing(database.Database(scene.server.conninfo(scene.name), keep_days=30)) as other:
        other.write([database.Message(TOPIC, result(seq, at)) for seq in (2, 3)])
    assert scene.query("SELECT device, run, seq FROM results ORDER BY 1, 2, 3") == [
        ("gate-01", 1, 1), ("gate-01", 1, 2), ("gate-01", 1, 3), ("gate-01", 2, 1), ("gate-02", 1, 1)]
    assert scene.query("SELECT device, run, seq FROM events") == [("gate-01", 3, 5)]
    assert dict(scene.database.counts) == {"results": 4, "events": 1, "repeats": 2}


def test_a_repeat_with_a_corrected_time_is_written_once(scene: Scene) -> None:
    """A device that has set its clock since sends the same result, or event, with another time and as late."""
    def copies(kind: str) -> list[bytes]:
        return [encoded(kind, 1, "1970-01-01T00:01:00Z", label="car", backfilled=False),
                encoded(kind, 1, "2026-11-30T10:00:00Z", label="car", backfilled=True)]
    scene.write(*copies("detections"))
    for copy in copies("events"):
        scene.write(copy, topic="vedette/gate-01/events")
    assert scene.query("SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM events)") == [(1, 1)]
    assert scene.database.counts["repeats"] == 2


def test_a_device_that_begins_again_is_no_repeat(scene: Scene) -> None:
    """With a new state folder its numbers begin again, and its results are others."""
    scene.write(result(1, day(-1), age_ms=31.5), result(1, day(0), age_ms=40.25))
    scene.write(result(1, day(0), age_ms=40.25))
    assert scene.query("SELECT message->>'age_ms' FROM results ORDER BY captured_at") == [("31.5",), ("40.25",)]


def test_a_bad_message_is_kept_aside(scene: Scene) -> None:
    """What the program or only PostgreSQL refuses stops no other row; the same again only counts."""
    at = day(0)
    bad = (b"{", result(3, at, label="\0"), result(4, at, label="\ud800"), result(5, at, score=[1]).replace(
        b"[1]", b"1e999999"))
    for _ in range(2):
        scene.write(result(1, at), *bad, result(2, at))
    scene.write(b"\0" * 100_000, topic="vedette/" + "ü" * 1000 + "/detections")
    assert scene.query("SELECT seq FROM results ORDER BY seq") == [(1,), (2,)]
    found = {payload: (topic, times) for topic, payload, times in scene.query(
        "SELECT topic, payload, times FROM rejected")}
    assert {found.pop(each) for each in bad} == {(TOPIC, 2)}
    [(payload, (topic, times))] = found.items()
    assert (payload, times) == (b"\0" * 65_536, 1)
    assert topic.startswith("vedette/\\xfc")
    assert scene.database.counts["rejected"] == 9


def test_a_wrong_clock_makes_no_partition(scene: Scene) -> None:
    """Such rows are in the default partition, each once; those of these days are in theirs."""
    wrong = ("1970-01-01T00:00:12Z", "2099-05-05T00:00:00Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00+14:00",
             None)
    for _ in range(2):
        scene.write(result(0, day(0)), *(result(seq, at) for seq, at in enumerate(wrong, 1)))
    assert scene.places() == {0: f"results_{day(0):%Y%m%d}", **dict.fromkeys(range(1, 6), "results_default")}
    assert scene.query("SELECT seq FROM results WHERE captured_at = '-infinity'") == [(5,)]


def test_rows_that_came_before_their_partition_are_moved(scene: Scene) -> None:
    """They are in it when it is made, and a repeat of them is still one."""
    early = day(days.AHEAD_DAYS)
    scene.write()
    scene.query(f"DROP TABLE results_{early:%Y%m%d}")
    scene.write(result(1, early))
    assert scene.places() == {1: "results_default"}
    scene.database.close()
    with psycopg.connect(scene.server.conninfo(scene.name), autocommit=True) as connection:
        days.renew(connection, 30)
    scene.write(result(1, early), result(2, early))
    assert scene.places() == dict.fromkeys((1, 2), f"results_{early:%Y%m%d}")


def test_what_is_too_old_is_dropped(scene: Scene) -> None:
    """Partitions by their day; the default partition and what is aside by when it was received."""
    old, older = day(-30), day(-31)
    scene.write(b"{", result(9, "1970-01-01T00:00:00Z"))
    with psycopg.connect(scene.server.conninfo(scene.name), autocommit=True) as connection:
        for each in (old, older):
            days.make(connection, "results", each.date())
        scene.write(result(1, old), result(2, older), result(3, day(0)))
        days.renew(connection, 30)
        assert set(scene.places()) == {1, 3, 9}
        scene.query("UPDATE results_default SET received_at = now() - interval '31 days'")
        scene.query("UPDATE rejected SET last_at = now() - interval '31 days'")
        days.renew(connection, 30)
    assert set(scene.places()) == {1, 3}
    assert scene.query("SELECT * FROM rejected") == []


def test_a_partition_that_cannot_be_made_stops_no_row(scene: Scene) -> None:
    """While somebody reads for long, nobody waits long behind the lock, and rows go where there is room."""
    scene.write()
    later = day(3)
    scene.query(f"DROP TABLE results_{later:%Y%m%d}")
    with psycopg.connect(scene.server.conninfo(scene.name)) as reader:
        reader.execute("LOCK TABLE results_default IN ACCESS SHARE MODE")
        with psycopg.connect(scene.server.conninfo(scene.name), autocommit=True) as connection, \
                pytest.raises(psycopg.errors.LockNotAvailable):
            days.renew(connection, 30, lock_wait="50ms")
        scene.write(result(1, later))
    assert scene.places() == {1: "results_default"}


def test_a_reader_stops_no_row(scene: Scene) -> None:
    """Not even while the program connects: a report may take an hour."""
    scene.write(result(1, day(0)))
    scene.database.close()
    with psycopg.connect(scene.server.conninfo(scene.name)) as reader:
        reader.execute("SELECT FROM detections, visits")
        scene.write(result(2, day(0)))
        assert scene.places().keys() == {1, 2}


@pytest.mark.skipif(not small_disk.possible(), reason="only root may mount a disk")
def test_a_full_disk_loses_nothing(server: Postgres) -> None:
    """The batch fails as a whole, nothing is aside, and it is written when there is room again."""
    disk = server.folder / "disk"
    disk.mkdir()
    with small_disk.mounted(disk, 32):
        server.give(disk)
        server.query(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.query("CREATE DATABASE small TABLESPACE small")
        scene = Scene(server, "small")
        try:
            with closing(scene.database):
                scene.write()
                server.query("CHECKPOINT")      # else it writes, a little later, what it has made so far
                waste = small_disk.fill(disk)
                with pytest.raises(psycopg.errors.DiskFull):
                    scene.write(result(1, day(0)), b"{")
                waste.unlink()
                scene.write(result(1, day(0)), b"{")
                assert scene.places().keys() == {1}
                assert scene.query("SELECT times FROM rejected") == [(1,)]
        finally:    # else the server would miss its files, and end
            server.query("DROP DATABASE small WITH (FORCE)")
            server.query("DROP TABLESPACE small")


def test_the_views_are_for_people(scene: Scene) -> None:
    """One row for each detection, and one for each visit, of its newest message."""
    at = day(0)
    scene.write(result(1, at, source="local", model={"version": "4", "variant": "b"}, detections=[
        {"label": "person", "score": 0.5, "box": [0, 0, 1, 1], "track": 7}, {"label": "car", "score": None}]))
    scene.write(encoded("events", 2, run=2, id="1-1", label="car", ended="2026-11-30T10:00:09Z", interrupted=False),
                encoded("events", 1, run=1, id="1-1", label="car", ended=None, interrupted=False),
                topic="vedette/gate-01/events")
    assert scene.query("SELECT source, version, variant, label, score, track FROM detections ORDER BY track") == [
        ("local", "4", "b", "person", 0.5, 7), ("local", "4", "b", "car", None, None)]
    [(identity, label, ended)] = scene.query("SELECT id, label, ended FROM visits")
    assert (identity, label, ended) == ("1-1", "car", datetime(2026, 11, 30, 10, 0, 9, tzinfo=UTC))

