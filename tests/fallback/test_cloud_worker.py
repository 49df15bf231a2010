"""The thread `cloud`: the newest frame, one call at a time, late answers dropped; with real servers and real clients.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import FakeClock
from tests.support.network.clouds import ANSWER, client, frame, ok, serving_answers, whole_request
from tests.support.network.rude_server import serving
from tests.support.waiting.fair_clock import fair_s
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette._lib.latest import Latest
from vedette._lib.worker import Worker
from vedette.config.models import CameraConfig, CloudConfig, Config, DetectorConfig
from vedette.fallback.breaker import Breaker
from vedette.fallback.cloud_worker import CloudStatus, CloudWorker
from vedette.ports import Clock
from vedette.types import DetectionResult, Frame

INTERVAL_S = 0.02


class RunningCloud:
    """A running cloud thread with a camera that gives a new frame for each one taken."""

    def __init__(self, folder: Path, url: str, *, max_age_ms: float = 5000, frames: Callable[[float], Frame | None]
                 | None = None, breaker: Breaker | None = None, clock: Clock | None = None, **more: Any) -> None:
        self.results: Latest[DetectionResult] = Latest(1000)
        self.taken = 0
        config = Config.model_construct(camera=CameraConfig.model_construct(max_frame_age_ms=max_age_ms),
                                        cloud=CloudConfig.model_construct(deadline_s=0))
        self.cloud = CloudWorker(client(folder, url, **more), breaker or Breaker(INTERVAL_S), frames or self.take,
                                 clock or SystemClock(), config)
        self.worker = Worker("cloud", self.cloud.run)

    def activate(self) -> None:
        self.cloud.activate(self._on_result)

    def _on_result(self, result: DetectionResult) -> bool:
        self.results.put(result)
        return True

    def take(self, _timeout_s: float) -> Frame:
        self.taken += 1
        return frame(seq=self.taken)

    def settled(self, holds: Callable[[CloudStatus], bool]) -> CloudStatus:
        """Wait for a status for which `holds` is true, and return it."""
        status = self.cloud.status()

        def is_so() -> bool:
            nonlocal status
            status = self.cloud.status()
            return holds(status)

        assert wait_until(is_so), status
        return status


@contextmanager
def standing(folder: Path, url: str, **more: Any) -> Iterator[RunningCloud]:
    one = RunningCloud(folder, url, **more)
    one.worker.start()
    try:
        yield one
    finally:
        assert one.worker.stop(60)
        assert one.worker.failure is None
        status = one.cloud.status()
        assert status.tried == status.results + status.late + status.failed


def test_it_calls_the_server_only_while_it_is_active(tmp_path: Path) -> None:
    """Nothing is sent before, and nothing after the call in progress; meanwhile results arrive."""
    with serving_answers() as server, standing(tmp_path, server.url) as one:
        assert one.results.take(0.2) is None
        one.activate()
        first = one.results.take(60)
        assert first is not None
        assert first.source == "cloud"
        one.cloud.deactivate()
        one.settled(lambda status: not status.active)
        while one.results.take(0.3):
            pass
        asked = len(server.asked)
        assert one.results.take(0.3) is None
        assert len(server.asked) == asked
        assert one.cloud.status().sent_bytes == sum(len(each.body) for each in server.asked)
    assert one.taken == asked


def test_the_first_result_comes_within_a_deadline(tmp_path: Path) -> None:
    """The first call begins at once, not at the next poll."""
    with serving_answers() as server, standing(tmp_path, server.url) as one:
        one.settled(lambda _: True)
        began_s = fair_s()
        one.activate()
        assert one.results.take(60) is not None
        assert fair_s() - began_s < 2


def test_a_reload_that_changes_the_region_drops_the_answer_under_way(tmp_path: Path) -> None:
    """The next calls are about the new region. The server is not blamed."""
    roi, asked, go_on = (0.5, 0.0, 1.0, 1.0), threading.Semaphore(0), threading.Semaphore(0)

    def behave(connection: socket.socket, _: threading.Event) -> None:
        whole_request(connection)
        asked.release()
        assert go_on.acquire(timeout=240)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ANSWER).encode())

    with serving(behave) as port, standing(tmp_path, f"http://127.0.0.1:{port}/v1/detect", max_age_ms=1e9) as one:
        one.activate()
        assert asked.acquire(timeout=240)
        one.cloud.reload(Config(camera=CameraConfig(roi=roi), detector=DetectorConfig()))
        go_on.release(1000)
        result = one.results.take(60)
        assert result is not None
        assert result.roi == roi
        assert result.frame.seq == 2
        status = one.settled(lambda status: status.results >= 2)
        assert (status.late, status.failed, status.breaker) == (1, 0, "closed")
        one.cloud.deactivate()


def test_each_call_is_about_the_newest_frame(tmp_path: Path) -> None:
    """Of the frames during a call only the newest is sent."""
    mailbox: Latest[Frame] = Latest()
    asked, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def behave(connection: socket.socket, _: threading.Event) -> None:
        whole_request(connection)
        asked.release()
        assert go_on.acquire(timeout=240)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ANSWER).encode())

    with serving(behave) as port, standing(tmp_path, f"http://127.0.0.1:{port}/", frames=mailbox.take) as one:
        mailbox.put(frame(seq=1))
        one.activate()
        assert asked.acquire(timeout=240)
        for seq in range(2, 9):
            mailbox.put(frame(seq=seq))
        go_on.release()
        first = one.results.take(60)
        assert asked.acquire(timeout=240)
        go_on.release()
        second = one.results.take(60)
        assert (first and first.frame.seq, second and second.frame.seq) == (1, 8)


def test_an_answer_after_deactivation_is_late(tmp_path: Path) -> None:
    """The device detects again: the cloud's answer about an older frame is counted, not published."""
    asked, go_on = threading.Event(), threading.Event()

    def behave(connection: socket.socket, _: threading.Event) -> None:
        whole_request(connection)
        asked.set()
        assert go_on.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ANSWER).encode())

    with serving(behave) as port, standing(tmp_path, f"http://127.0.0.1:{port}/") as one:
        one.activate()
        assert asked.wait(60)
        one.cloud.deactivate()
        one.activate()          # even if it is activated again meanwhile
        go_on.set()
        one.settled(lambda status: status.late == 1)


def test_an_answer_about_an_old_frame_is_late(tmp_path: Path) -> None:
    """The frame is older than the age limit for results."""
    with serving_answers() as server, standing(tmp_path, server.url, max_age_ms=0.001) as one:
        one.activate()
        assert one.settled(lambda status: status.late >= 2).results == 0
        assert one.results.take(0) is None


def test_a_failing_server_opens_the_breaker(tmp_path: Path) -> None:
    """Three calls, then none; the cause is reported, and no result is invented."""
    with serving_answers((500, {}, b"")) as server, standing(tmp_path, server.url) as one:
        one.activate()
        status = one.settled(lambda status: status.breaker == "open")
        assert one.results.take(0.3) is None
        assert (status.failed, status.results, len(server.asked)) == (3, 0, 3)
        assert "500" in (status.cause or "")


@pytest.mark.parametrize("retry_after", [{}, {"Retry-After": "999999999"}, {"Retry-After": "-1"}])
def test_ten_minutes_of_failing_and_the_recovery(tmp_path: Path, retry_after: dict[str, str]) -> None:
    """In fast-forward: ten calls reach the server at most, and its first result comes within five minutes of its
    recovery.
    """
    clock = FakeClock()
    breaker = Breaker(INTERVAL_S)

    def goes_on(one: RunningCloud) -> CloudStatus:
        """Step to the moment of the next call, and have it made."""
        tried = one.cloud.status().tried
        clock.advance(breaker.wait_s(clock.now_ns / 1e9) + 1e-6)
        one.cloud.deactivate()      # wakes it, as a model that works for a moment does
        one.activate()
        return one.settled(lambda status: status.tried > tried)

    began_s = clock.now_ns / 1e9
    with serving_answers((503, retry_after, b"")) as server, \
            standing(tmp_path, server.url, breaker=breaker, clock=clock) as one:
        while clock.now_ns / 1e9 + breaker.wait_s(clock.now_ns / 1e9) < began_s + 600:
            goes_on(one)
        assert 2 <= len(server.asked) <= 10
        clock.advance(began_s + 600 - clock.now_ns / 1e9)
        server.answers = [ok(ANSWER)]
        goes_on(one)
        assert clock.now_ns / 1e9 <= began_s + 900
        assert one.settled(lambda status: status.results >= 1).breaker == "closed"


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    """It applies from the first refusal on."""
    with serving_answers((429, {"Retry-After": "60"}, b""), ok(ANSWER)) as server, \
            standing(tmp_path, server.url) as one:
        one.activate()
        one.settled(lambda status: status.failed == 1)
        assert one.results.take(0.3) is None
        assert len(server.asked) == 1


def test_one_failure_costs_one_result(tmp_path: Path) -> None:
    """The next call comes at the usual time, and its success counts as usual."""
    with serving_answers((500, {}, b""), ok(ANSWER)) as server, standing(tmp_path, server.url) as one:
        one.activate()
        assert one.results.take(60) is not None
        status = one.settled(lambda status: status.results >= 1)
        assert (status.failed, status.cause, status.breaker) == (1, None, "closed")


def test_a_spent_budget_is_no_failure_of_the_server(tmp_path: Path) -> None:
    """The breaker stays closed, the calls made are counted, and the cause names the spent amount."""
    with serving_answers() as server, standing(tmp_path, server.url, per_hour=2) as one:
        one.activate()
        status = one.settled(lambda status: "used up" in (status.cause or ""))
        assert (status.tried, status.results, status.breaker) == (2, 2, "closed")
        assert len(server.asked) == 2


@pytest.mark.parametrize("on", [True, False])
def test_it_stops_within_a_second(tmp_path: Path, *, on: bool) -> None:
    """This holds without frames, active or not."""
    empty: Latest[Frame] = Latest()
    one = RunningCloud(tmp_path, "http://127.0.0.1:9/", frames=empty.take)
    one.worker.start()
    if on:
        one.activate()
    assert one.worker.stop(1)
