"""Orderly stops, seen from outside, with repeated signals."""

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
def test_repeated_signals_do_not_disturb_a_stop(tmp_path: Path, number: signal.Signals) -> None:
    """Signals are sent until the process is gone, also while Python itself ends, and none of them is an error."""
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
