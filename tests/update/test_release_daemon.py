"""Releases on a real daemon: signed by an operator, served by a plain web server, followed, withdrawn, rolled back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker.subscriber import send
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.daemon.update_device import DEVICE, Device, device_in
from tests.support.models import lamps
from tests.support.network.http_server import serving_folder
from tests.support.network.operators_desk import Fleet
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette.vision.interpreter import available_runtimes

pytestmark = pytest.mark.daemon

TRIAL = "frames=20,minutes=0.05"
SHADOW = "frames=3,minutes=0.02,max_latency_ratio=50"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with device_in(tmp_path) as one:
        yield one


def configure(device: Device, fleet: Fleet, source: str) -> None:
    device.configure(update=f"{{source: '{source}', root: '{fleet.root}', poll_minutes: 0.02}}")


def test_a_device_follows_the_releases(device: Device, tmp_path: Path) -> None:
    """The first, a better one through shadow, a bad one with its rollback, the next good one, and back when it is
    withdrawn.
    """
    fleet = Fleet(tmp_path)
    fleet.release(lamps.write(tmp_path, "1"), "--trial", TRIAL)
    with serving_folder(fleet.www) as server:
        configure(device, fleet, server.url)
        with device.daemon() as daemon:
            assert device.waits_for_model(state="good", installed_version="1", release=1), daemon.log
            assert device.waits_for_results_of("1"), daemon.log

            fleet.release(lamps.write(tmp_path, "2"), "--trial", TRIAL, "--shadow", SHADOW, "--variant", "b")
            assert device.waits_for_model(state="good", installed_version="2", release=2, variant="b"), \
                daemon.log
            assert device.waits_for_results_of("2"), daemon.log
            assert device.published("detections")[-1]["model"]["variant"] == "b"

            fleet.release(lamps.blind(tmp_path, "3"), "--trial", TRIAL)
            assert device.waits_for_model(state="trial", installed_version="3"), daemon.log
            assert device.waits_for_model(state="good", installed_version="2"), daemon.log
            assert "blind" in device.model["last_outcome"]
            assert [device.model["last_update"][key] for key in ("release", "ok", "code")] == [3, False, "blind"]
            assert (device.model["latest_version"], device.model["in_progress"]) == ("3", False)
            assert wait_until(lambda: "blind" in str(device.reasons().get("update_failed"))), device.reasons()
            polls = daemon.log.count("fetching")
            count = len(device.published("health"))
            assert wait_until(lambda: len(device.published("health")) > count + 4)
            assert daemon.log.count("fetching") == polls, "a refused digest was fetched again"

            fleet.release(lamps.write(tmp_path, "4"), "--trial", TRIAL)
            assert device.waits_for_model(state="good", installed_version="4"), daemon.log
            assert [device.model["last_update"][key] for key in ("release", "ok", "code")] == [4, True, "good"]
            assert wait_until(lambda: "update_failed" not in device.reasons()), device.reasons()

            fleet.run("withdraw", "4")
            fleet.publish()
            assert device.waits_for_model(state="good", installed_version="2", release=2), daemon.log
            assert device.waits_for_results_of("2"), daemon.log


def test_a_release_without_a_runtime_does_not_stop_the_updates(device: Device, tmp_path: Path) -> None:
    """An upgrade removed the runtime: the device reports it, and goes on asking."""
    away = next(name for name in ("litert", "tflite-runtime")
                if name not in {report.name for report in available_runtimes() if report.error is None})
    one = lamps.write(tmp_path, "1")
    device.good(one, lamps.write(tmp_path, "2"))
    fleet = Fleet(tmp_path)
    fleet.release(one)
    with serving_folder(fleet.www) as server:
        device.configure(update=f"{{source: '{server.url}', root: '{fleet.root}', poll_minutes: 0.02}}",
                         detector=f"{{threads: 1, runtime: {away}}}")
        with RunningDaemon(tmp_path, "--config", device.config, env={"NOTIFY_SOCKET": "/run/nobody-listens"}) as daemon:
            assert wait_until(lambda: "model_refused" in device.reasons() and bool(device.model["latest_version"]))
            count = len(device.published("health"))
            assert wait_until(lambda: len(device.published("health")) > count + 4), daemon.log
            assert present(device.state.active).version == "2"
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0


def test_a_missing_source_is_reported_and_a_nudge_answered(device: Device, tmp_path: Path) -> None:
    """The installed model runs; the reason ends when the server is back; an operator's rollback holds meanwhile."""
    fleet = Fleet(tmp_path)
    fleet.release(lamps.write(tmp_path, "1"), "--trial", TRIAL)
    with serving_folder(fleet.www) as server:
        configure(device, fleet, server.url)
        with device.daemon() as daemon:
            assert device.waits_for_model(state="good", installed_version="1"), daemon.log
    with device.daemon() as daemon:
        assert wait_until(lambda: "update_unreachable" in device.reasons()), daemon.log
        assert device.waits_for_results_of("1"), daemon.log
        with serving_folder(fleet.www, server.port):
            assert wait_until(lambda: "update_unreachable" not in device.reasons()), daemon.log
            send(device.broker.client(), f"vedette/{DEVICE}/cmd/update", b"{}", name="operator")
            assert wait_until(lambda: device.published("reply/update")), daemon.log
            assert device.published("reply/update")[-1]["data"]["within_s"] >= 0
            fleet.release(lamps.write(tmp_path, "2"), "--trial", TRIAL)
            assert device.waits_for_model(state="good", installed_version="2"), daemon.log
            done = vedette("model", "rollback", folder=device.folder)
            assert (done.returncode, done.stdout) == (
                0, "rolled back from lamps 2 to lamps 1; it stays until a release above 2\n"), done.stderr
            assert device.waits_for_results_of("1"), daemon.log
            count = len(device.published("health"))
            assert wait_until(lambda: len(device.published("health")) > count + 4)
            assert device.model["installed_version"] == "1"


def test_a_folder_of_another_fleet_is_refused(device: Device, tmp_path: Path) -> None:
    """Its media change nothing, and health has the reason; the right ones are followed."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = Fleet(tmp_path / "ours"), Fleet(tmp_path / "theirs")
    theirs.release(lamps.write(tmp_path, "1"), "--trial", TRIAL)
    ours.release(lamps.write(tmp_path, "2"), "--trial", TRIAL)
    device.configure(update=f"{{source: '{theirs.www}', root: '{ours.root}', poll_minutes: 0.02}}")
    with device.daemon() as daemon:
        assert wait_until(lambda: "update_refused" in device.reasons()), daemon.log
        assert "no_model" in device.reasons()
    configure(device, ours, str(ours.www))
    with device.daemon() as daemon:
        assert device.waits_for_model(state="good", installed_version="2"), daemon.log
