"""Ordered stops from outside that somebody is impatient with."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.daemon.running import RunningDaemon
from tests.support.network.ports import free_port
from tests.support.truth.bright_squares import write_clip, write_model
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_stays_an_ordered_one_however_often_it_is_asked_for(tmp_path: Path, number: signal.Signals) -> None:
    """Signals until the process is gone: also those that come while Python itself ends, to which it is no error."""
    config = tmp_path / "config.yaml"
    config.write_text(f"mqtt: {{port: {free_port()}}}\ndetector: {{model: '{write_model(tmp_path)}', threads: 1}}\n"
                      f"camera: {{source: '{write_clip(tmp_path)}', loop: true}}\n")
    with RunningDaemon(tmp_path, "--config", config, "--print") as daemon:
        assert daemon.waits_for_results(1, 60), daemon.log
        daemon.signal(signal.SIGTERM)

        def is_gone() -> bool:
            for _ in range(20):
                daemon.signal(number)
            return daemon.process.poll() is not None

        assert wait_until(is_gone, 60)
        assert daemon.ends() == 0, daemon.log
