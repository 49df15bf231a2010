"""A daemon whose camera has a motion gate: it rests while nothing moves, and says so."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber
from tests.support.daemon.config import DEVICE
from tests.support.daemon.running import RunningDaemon
from tests.support.network.local_clients import get, get_json
from tests.support.network.ports import free_port
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon


def still(path: Path) -> int:
    return int(get_json(path, "/health")["capture"]["dropped"].get("still", 0))


def newest(path: Path) -> int:
    return int(get_json(path, "/results")["results"][-1]["seq"])


def test_a_viewer_gets_pictures_although_nothing_moves(tmp_path: Path) -> None:
    """Each is of a later frame, in which the detector has looked. Without a viewer there is no further look."""
    config, path = tmp_path / "config.yaml", tmp_path / "run" / "socket"
    path.parent.mkdir()
    config.write_text(
        f"device: {DEVICE}\nmqtt: {{port: {free_port()}}}\nhealth: {{interval_s: 1}}\npublish: {{refresh_s: 3600}}\n"
        "camera: {source: synthetic, fps: 10, masks: [[[0, 0], [1, 0], [1, 1], [0, 1]]], "
        "gate: {enabled: true, every_s: 600}}\n")
    environment = {"RUNTIME_DIRECTORY": str(path.parent)}
    with RunningDaemon(tmp_path, "--config", config, "--print", env=environment) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        seen = [-1]
        while len(seen) < 4:
            status, body = get(path, f"/frame?wait=30&after={seen[-1]}")
            assert status == 200
            seen.append(json.loads(body.partition(b"\n")[0])["seq"])
        assert seen == sorted(set(seen))
        assert newest(path) >= seen[-1]

        def rests() -> bool:
            """Three seconds and more pass without a result. The socket notices only after a while that nobody views."""
            before, number = still(path), newest(path)
            return wait_until(lambda: still(path) >= before + 30) and newest(path) == number
        assert wait_until(rests), daemon.log


def test_still_frames_are_counted_and_nothing_is_wrong(tmp_path: Path, broker: Mosquitto,
                                                       subscriber: Subscriber) -> None:
    """Frames without motion give no results; results go on every `every_s`; the counts stay, and add up."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {DEVICE}\nmqtt: {{port: {broker.port}}}\npublish: {{results: all}}\nhealth: {{interval_s: 1}}\n"
        "camera: {source: 'synthetic?seed=4&quiet=1&hour=12', width: 320, height: 180, fps: 20, "
        "gate: {enabled: true, every_s: 1.5}}\ndetector: {threads: 1}\n")
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        def mostly_still() -> bool:
            """Somebody may walk by at first: what the street shows depends on the clock."""
            seen = [message["capture"] for message in subscriber.published("health")]
            return any(capture["dropped"].get("still", 0) > 60 + capture["detected"] for capture in seen)
        assert wait_until(mostly_still, 300), daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    final = subscriber.health["capture"]
    assert final["captured"] == final["detected"] + sum(final["dropped"].values()) + final["pending"]
    assert final["detected"] < final["dropped"]["still"]
    assert {message["counts"] is None for message in subscriber.published("counts")[1:-1]} <= {False}
    assert not {reason["code"] for message in subscriber.published("health") for reason in message["reasons"]} & {
        "camera_stalled", "camera_frozen", "camera_slow", "camera_rate", "all_stale", "detector_slow"}
