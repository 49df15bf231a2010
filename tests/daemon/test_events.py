"""Events of a whole daemon, as a subscriber sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.standing import stand, wrong
from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber

pytestmark = pytest.mark.daemon


def test_a_thing_that_stands_still_is_one_event(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """One start, one update and one end, through a killed child, a pause, a lower rate and another model."""
    assert wrong(stand(tmp_path, broker, subscriber, seconds=0, pause_s=2)) == []
