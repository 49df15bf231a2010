"""Events of a whole daemon, as a subscriber sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.standing import stand, wrong
from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber
from tests.support.daemon.cameras import real_video
from tests.support.daemon.config import write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon


def test_a_thing_that_stands_still_is_one_event(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """One start, one update and one end, through a killed child, a pause, a lower rate and another model."""
    assert wrong(stand(tmp_path, broker, subscriber, seconds=0, pause_s=2)) == []


def test_each_car_of_a_film_is_one_event(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """Four cars drive through the film, as people count. The model calls them cars, buses, trains and cell phones."""
    film = real_video()
    config = write_config(tmp_path, broker.port, model=film.parents[1] / "models" / "yolov8n_416_coco_int8.tflite",
                          camera=f"{{source: '{film}', every_frame: true, max_frame_age_ms: 60000}}")
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert daemon.ends() == 0, daemon.log
    assert wait_until(lambda: len(subscriber.published("events")) >= 8), subscriber.published("events")
    assert sorted(told["type"] for told in subscriber.published("events")) == ["end"] * 4 + ["start"] * 4
