"""A daemon whose camera has a motion gate: it rests while nothing moves, and says so."""

import signal
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber
from tests.support.daemon.config import DEVICE
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon


def test_still_frames_are_counted_and_nothing_is_wrong(tmp_path: Path, broker: Mosquitto,
                                                       subscriber: Subscriber) -> None:
    """Frames without motion give no results; results go on every `every_s`; the counts stay, and add up."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {DEVICE}\nmqtt: {{port: {broker.port}}}\npublish: {{results: all}}\nhealth: {{interval_s: 1}}\n"
        "camera: {source: 'synthetic?seed=4&quiet=1&hour=12', width: 320, height: 180, fps: 20, "
        "gate: {enabled: true, every_s: 1.5}}\ndetector: {threads: 1}\n")
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert wait_until(lambda: any(result["dropped"].get("still", 0) > 60 for result in subscriber.results), 120), \
            daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    final = subscriber.health["capture"]
    assert final["captured"] == final["detected"] + sum(final["dropped"].values()) + final["pending"]
    assert final["detected"] < final["dropped"]["still"]
    assert {message["counts"] is None for message in subscriber.published("counts")[1:-1]} <= {False}
    assert not {reason["code"] for message in subscriber.published("health") for reason in message["reasons"]} & {
        "camera_stalled", "camera_frozen", "camera_slow", "camera_rate", "all_stale", "detector_slow"}
