"""A signed configuration on a real daemon: it applies at once, survives a kill, is refused, and is taken back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.daemon.update_device import device_in
from tests.support.models import lamps
from tests.support.network.operators import Operator
from tests.support.waiting.until import wait_until
from vedette.store.release import TrialRequirement

pytestmark = pytest.mark.daemon

SHORT = TrialRequirement(frames=5, minutes=0.01)


def test_a_device_follows_its_signed_configuration(tmp_path: Path) -> None:
    """Without a restart, and after one by SIGKILL."""
    operator = Operator(tmp_path)
    root = tmp_path / "root.json"
    root.write_bytes(operator.root)

    def sign(values: object, number: int) -> None:
        operator.release(json.dumps(values).encode(), str(number), number, kind="configuration", trial=SHORT)
        operator.publish()
    with device_in(tmp_path) as device:
        device.good(lamps.write(tmp_path, "1"))
        device.configure(update=f"{{source: '{operator.served}', root: '{root}', poll_minutes: 0.005}}")

        def is_in_effect(state: str, release: int | None, *, lamps_seen: bool) -> bool:
            shown = device.model.get("configuration") or {}
            results = device.subscriber.results
            return (shown.get("state"), shown.get("release")) == (state, release) and bool(results) \
                and bool(results[-1]["detections"]) == lamps_seen
        sign({"detector": {"deny": ["lamp"]}}, 1)
        with device.daemon() as daemon:
            assert wait_until(lambda: is_in_effect("good", 1, lamps_seen=False)), (device.model, daemon.log)
            daemon.signal(signal.SIGKILL)
            daemon.ends()
        with device.daemon() as daemon:
            assert wait_until(lambda: is_in_effect("good", 1, lamps_seen=False)), (device.model, daemon.log)
            sign({"mqtt": {"host": "elsewhere"}}, 2)
            assert wait_until(lambda: "mqtt.host" in str(device.reasons().get("configuration_failed"))), daemon.log
            assert device.model["configuration"]["last_update"]["code"] == "invalid"
            assert is_in_effect("good", 1, lamps_seen=False)
            with operator.opened() as repository:
                repository.withdraw(operator.keys, 1)
                repository.withdraw(operator.keys, 2)
            operator.publish()
            assert wait_until(lambda: is_in_effect("none", None, lamps_seen=True)), (device.model, daemon.log)
            assert wait_until(lambda: "configuration_failed" not in device.reasons())
