"""What contrib/ingest takes as a result or an event of a device, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from contrib.ingest.messages import Row, Unreadable, read
from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.network.ingest import encoded, message
from vedette.messages import payloads

TOPIC = "vedette/gate-01/detections"


def test_a_result_of_the_daemon_is_a_row() -> None:
    """As the daemon encodes it, with the time of its frame."""
    frame = make_frame(FakeClock())
    payload = payloads.encode(payloads.detections(make_result(frame), device="gate-01", run=412, seq=7, dropped={},
                                                  clock_synced=True))
    row = read(TOPIC, payload)
    assert row == Row("results", "gate-01", 412, 7, datetime.fromisoformat(payloads.timestamp(frame.captured_at)),
                      payload.decode())


def test_an_event_is_a_row() -> None:
    """With the time at which it began."""
    row = read("vedette/gate-01/events", encoded("events", 3, "2026-11-30T23:59:59.999Z", run=2))
    assert (row.table, row.run, row.seq, row.at) == ("events", 2, 3, datetime(2026, 11, 30, 23, 59, 59, 999_000, UTC))


def test_a_message_without_a_time_is_a_row() -> None:
    """The clock of its device is not set."""
    assert read(TOPIC, encoded("detections", 1, None)).at is None


@pytest.mark.parametrize(("topic", "payload", "problem"), [
    (TOPIC, b"", "not JSON"),
    (TOPIC, b"\xff{}", "not JSON"),
    (TOPIC, b"{", "not JSON"),
    (TOPIC, b"[" * 100_000, "not JSON"),
    (TOPIC, b"[]", "not of the schema"),
    (TOPIC, encoded("detections", 1, score=float("nan")), "NaN is no number"),
    (TOPIC, encoded("events", 1), "not of the schema vedette.detections/1"),
    (TOPIC, encoded("detections", 1, device="gate-02"), "another device"),
    (TOPIC, encoded("detections", -1), "seq"),
    (TOPIC, encoded("detections", 1, run=2**63), "run"),
    (TOPIC, encoded("detections", 1, run=True), "run"),
    (TOPIC, json.dumps({**message("detections", 1), "frame": None}).encode(), "expected a time"),
    (TOPIC, encoded("detections", 1, "yesterday"), "expected a time, found 'yesterday'"),
    (TOPIC, encoded("detections", 1, "2026-11-30T10:00:00"), "time zone"),
    ("vedette/gate-01/health", encoded("detections", 1), "topic"),
    ("detections", encoded("detections", 1), "topic"),
    ("vedette//detections", encoded("detections", 1, device=""), "topic"),
    (f"vedette/{'x' * 251}/detections", encoded("detections", 1, device="x" * 251), "topic"),
])
def test_another_message_is_refused(topic: str, payload: bytes, problem: str) -> None:
    """With what is wrong; a message in the name of another device is never a row."""
    with pytest.raises(Unreadable, match=problem):
        read(topic, payload)
