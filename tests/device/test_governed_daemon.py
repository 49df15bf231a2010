"""A hot board, seen from outside: a real daemon and broker, and the kernel's files, which the test writes."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Payload, Subscriber
from tests.support.daemon.board import PROGRAM, PlantedBoard
from tests.support.daemon.config import write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.truth.bright_squares import write_clip
from tests.support.waiting.fair_clock import PATIENCE_S, starved_s
from tests.support.waiting.until import wait_until
from vedette.device.governor import STEPS

pytestmark = pytest.mark.daemon

FPS = 15
LAST = len(STEPS) - 1


@pytest.fixture
def board(tmp_path: Path) -> PlantedBoard:
    return PlantedBoard(tmp_path / "root")


def governed_config(folder: Path, port: int, governor: str = "{}") -> Path:
    return write_config(folder, port, governor=governor,
                        camera=f"{{source: '{write_clip(folder)}', loop: true, fps: {FPS}}}")


def reasons(health: Payload) -> dict[str, str]:
    return {reason["code"]: reason["detail"] for reason in health["reasons"]}


def waits_for_step(subscriber: Subscriber, step: int) -> bool:
    return wait_until(lambda: subscriber.health.get("governor", {}).get("step") == step, PATIENCE_S)


def steps(subscriber: Subscriber) -> list[int]:
    """The steps that health reported, without repeats."""
    named = [health["governor"]["step"] for health in subscriber.published("health")]
    return [step for step, before in zip(named, [None, *named], strict=False) if step != before]


def detected_per_s(subscriber: Subscriber, seconds: float) -> float:
    """Measured by the daemon's own counts and uptime, from now on."""
    before = subscriber.health
    assert wait_until(lambda: subscriber.health["uptime_s"] - before["uptime_s"] >= seconds, PATIENCE_S)
    after = subscriber.health
    detected: int = after["capture"]["detected"] - before["capture"]["detected"]
    return detected / float(after["uptime_s"] - before["uptime_s"])


def test_heat_lowers_the_rate_and_cooling_restores_it(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber,
                                                     board: PlantedBoard) -> None:
    """The rate falls to the lowest step and rises again, each step is published, and every skipped frame is counted."""
    config = governed_config(tmp_path, broker.port)
    with RunningDaemon(tmp_path, board.root, "--config", config, program=PROGRAM) as daemon:
        assert waits_for_step(subscriber, 0), daemon.log
        assert wait_until(lambda: subscriber.health["capture"]["detected"] > FPS, PATIENCE_S)
        board.temperature(86)
        assert waits_for_step(subscriber, LAST), daemon.log
        governed = subscriber.health
        assert reasons(governed)["rate_lowered"].startswith(f"to {STEPS[LAST]:.0%}: 8")
        assert governed["state"] == "degraded"
        assert not reasons(governed).keys() & {"detector_slow", "all_stale", "detector_failing", "camera_slow"}
        assert 0.5 <= governed["governor"]["limit_per_s"] <= STEPS[LAST] * FPS
        heard_before = len(subscriber.results)
        assert detected_per_s(subscriber, 2) <= governed["governor"]["limit_per_s"] + 1
        board.temperature(45)
        ages_ms = [result["age_ms"] for result in subscriber.results[heard_before:]]
        assert waits_for_step(subscriber, 0), daemon.log
        assert "rate_lowered" not in subscriber.reasons
        after_cooling = subscriber.health["capture"]["detected"]
        counted = subscriber.health["capture"]["dropped"]["governed"]
        assert wait_until(lambda: subscriber.health["capture"]["detected"] > after_cooling + FPS, PATIENCE_S)
        assert subscriber.health["capture"]["dropped"]["governed"] - counted <= FPS
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
    assert all(after - before in (-1, 1, 2) for before, after in pairwise(steps(subscriber)))
    assert set(range(LAST)) <= {step for before, step in pairwise(steps(subscriber)) if step < before}
    capture = subscriber.health["capture"]
    assert capture["captured"] == capture["detected"] + sum(capture["dropped"].values()) + capture["pending"]
    assert capture["dropped"]["governed"] > FPS
    assert median(ages_ms) < 1000 / FPS
    assert daemon.log.count("detection lowered to") >= 3
    assert daemon.log.count("detection raised to") == LAST


def test_memory_pressure_is_reported_within_5_s_and_cleared_within_10(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber, board: PlantedBoard) -> None:
    """The clock of the messages counts; a reload that turns the governor off keeps the reason and ends the limit."""
    config = governed_config(tmp_path, broker.port, "{target_c: 60}")
    began_s = time.monotonic()
    board.waited_for_memory(0)
    with RunningDaemon(tmp_path, board.root, "--config", config, program=PROGRAM) as daemon:
        assert wait_until(lambda: subscriber.health.get("board", {}).get("memory_pressed") is False, PATIENCE_S)
        began_s, began_at, before_s = time.monotonic(), time.time(), starved_s()

        def presses() -> bool:
            board.waited_for_memory(0.5 * (time.monotonic() - began_s))
            return bool(subscriber.health["governor"]["step"] > 0)
        assert wait_until(presses, PATIENCE_S), daemon.log
        ended_at = time.time()
        assert wait_until(lambda: subscriber.health["board"]["memory_pressed"] is False, PATIENCE_S)
        board.temperature(70)
        assert waits_for_step(subscriber, LAST), daemon.log
        assert wait_until(lambda: bool(subscriber.results)), daemon.log      # the model's file is written again
        governed_config(tmp_path, broker.port, "{enabled: false}")
        daemon.signal(signal.SIGHUP)
        assert waits_for_step(subscriber, 0), daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
    named = next(each for health in subscriber.published("health") for each in health["reasons"]
                 if each["code"] == "memory_pressure")
    assert seconds(named["since"]) - began_at <= 5 + starved_s() - before_s
    pressed = [health for health in subscriber.published("health") if "memory_pressure" in reasons(health)]
    gone = next(health for health in subscriber.published("health")
                if seconds(health["at"]) > seconds(pressed[-1]["at"]))
    assert seconds(gone["at"]) - ended_at <= 10 + starved_s() - before_s
    assert any(reasons(health).get("rate_lowered", "").endswith("processes wait for memory") for health in pressed)


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
