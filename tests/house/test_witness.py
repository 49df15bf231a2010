"""The witness misses no message that a broker acknowledged: otherwise a missing one would prove nothing."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import send
from tests.support.broker.witness import Witness
from tests.support.waiting.until import wait_until


def test_a_restarted_broker_keeps_messages_for_the_witness(tmp_path: Path) -> None:
    """mosquitto 2.0.11 saves no session that began clean, and then acknowledges messages without a subscriber."""
    with running(tmp_path, f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/") as broker:
        with Witness(broker.client(), "gate") as before:
            assert wait_until(lambda: before.listening)
        broker.stop()
        broker.start()
        send(broker.client(), "vedette/gate/detections", b'{"seq": 7}')
        with Witness(broker.client(), "gate") as after:
            assert wait_until(lambda: after.seqs == {7})
