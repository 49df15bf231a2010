"""New models on a real daemon: a good one becomes good, a bad one is rolled back, restarts lose nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon.running import RunningDaemon
from tests.support.daemon.update_device import LONG_TRIAL, SHORT_SHADOW, Device, device_in, digest
from tests.support.models import bundles, lamps
from tests.support.present import present
from tests.support.truth.bright_squares import write_clip
from tests.support.waiting.until import wait_until
from vedette.detect.box_model import BOX_MODEL
from vedette.store.release import TrialRequirement
from vedette.store.state import CRASHES_MAX

pytestmark = pytest.mark.daemon


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with device_in(tmp_path) as one:
        yield one


def test_a_good_model_goes_through_shadow_and_trial_to_good(device: Device, tmp_path: Path) -> None:
    """Each state is published, and its comparisons in shadow; every frame is counted."""
    device.good(lamps.write(tmp_path, "1"))
    new = device.staged(lamps.write(tmp_path, "2"), shadow=SHORT_SHADOW)
    with device.daemon() as daemon:
        assert device.waits_for_model(state="good", installed_version="2"), daemon.log
        assert device.waits_for_results_of("2"), daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
    states = [state for state in device.states() if state not in ("none", "staged")]   # staged: also between the two
    assert states[-3:] == ["shadow", "trial", "good"]
    assert present(device.state.previous).version == "1"
    assert present(device.state.last_outcome).ok
    looks = device.published("shadow")
    assert looks[0]["model"]["sha256"] == new.sha256
    assert looks[0]["detections"] == looks[0]["active_detections"]
    final = device.published("health")[-1]["capture"]
    assert final["captured"] == final["detected"] + sum(final["dropped"].values()) + final["pending"]


@pytest.mark.parametrize(("make", "why"), [
    (lamps.raising, "detection failed"), (lamps.blind, "blind"), (lamps.slow, "slow")])
def test_a_model_that_fails_on_trial_is_rolled_back(
        device: Device, tmp_path: Path, make: Callable[[Path, str], Path], why: str) -> None:
    """The previous model detects again, the cause is in the model message and in health, the digest is refused."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(make(tmp_path, "2"))
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
        assert device.waits_for_model(state="good", installed_version="1", within_s=300), daemon.log
        assert device.waits_for_results_of("1"), daemon.log
        assert why in device.model["last_outcome"]
        last = device.model["last_update"]
        assert (last["sha256"], last["ok"], why) == (digest(tmp_path / "lamps-2.tflite"), False, {
            "errors": "detection failed"}.get(last["code"], last["code"]))
        assert wait_until(lambda: why in str(device.reasons().get("update_failed"))), device.reasons()
    assert device.state.refusal_of(digest(tmp_path / "lamps-2.tflite"))


def test_a_model_that_kills_the_daemon_three_times_is_not_started_again(device: Device, tmp_path: Path) -> None:
    """Native crashes are counted before the model is loaded; the fourth start runs the previous model."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"), trial=LONG_TRIAL)
    for _ in range(CRASHES_MAX):
        with device.daemon() as daemon:
            assert device.waits_for_results_of("2"), daemon.log
            daemon.signal(signal.SIGSEGV)
            assert daemon.ends() == -signal.SIGSEGV
    with device.daemon() as daemon:
        assert device.waits_for_results_of("1"), daemon.log
        assert device.waits_for_model(state="good", installed_version="1"), daemon.log
        assert f"{CRASHES_MAX} crashes" in device.model["last_outcome"]
        assert (device.model["last_update"]["code"], device.model["last_update"]["ok"]) == ("crashed", False)


def test_orderly_restarts_fail_no_model_and_keep_the_evidence(device: Device, tmp_path: Path) -> None:
    """Three orderly stops on trial are no crash; the evidence from before them counts."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"), trial=LONG_TRIAL)
    frames = 0
    for number in range(CRASHES_MAX + 1):
        with device.daemon() as daemon:
            assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
            seen = len(device.published("detections"))
            assert device.subscriber.waits_for_results(seen + 6), daemon.log
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0, daemon.log
        trial = present(device.state.trial)
        counted = trial.starts, trial.crashes, trial.other_ends, trial.open_boot
        assert counted == (number + 1, 0, number + 1, None), daemon.log
        assert trial.frames > frames or number == 0
        frames = trial.frames


def test_a_restart_in_shadow_begins_the_comparison_again(device: Device, tmp_path: Path) -> None:
    """A killed daemon keeps the candidate; the next daemon compares it again."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"), shadow=SHORT_SHADOW.model_copy(update={"frames": 10**6}))
    for _ in range(2):
        with device.daemon() as daemon:
            assert wait_until(lambda: len(device.published("shadow")) >= 1), daemon.log
            assert device.waits_for_model(state="shadow", installed_version="1"), daemon.log
            daemon.process.kill()
            daemon.ends()
    assert present(device.state.candidate).version == "2"
    assert present(device.state.active).version == "1"


def test_a_stop_during_a_probe_refuses_no_model(device: Device, tmp_path: Path) -> None:
    """The daemon ends in order although the child hangs; the next start tries the candidate."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"))
    with device.daemon() as daemon:
        assert wait_until(lambda: bool(children(daemon, "candidate_child"))), daemon.log
        os.kill(children(daemon, "candidate_child")[0], signal.SIGSTOP)
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
        assert "left running" not in daemon.log
    assert present(device.state.candidate).version == "2"
    assert device.state.refused == ()
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log


def test_a_stop_during_a_comparison_is_orderly(device: Device, tmp_path: Path) -> None:
    """The previous model's child hangs, as one that takes long to load: it is ended, and no crash is counted."""
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"), trial=LONG_TRIAL)
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
        assert wait_until(lambda: bool(children(daemon, "candidate_child"))), daemon.log
        os.kill(children(daemon, "candidate_child")[0], signal.SIGSTOP)
        seen = len(device.published("detections"))
        assert wait_until(lambda: len(device.published("detections")) > seen + 15), daemon.log      # it is asked by now
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
        assert "left running" not in daemon.log
        assert "cannot run for the comparison" not in daemon.log
    trial = present(device.state.trial)
    assert (trial.crashes, trial.other_ends, trial.open_boot) == (0, 1, None)


def children(daemon: RunningDaemon, module: str) -> list[int]:
    """Process ids of the daemon's children that run this module."""
    tasks = Path(f"/proc/{daemon.process.pid}/task").glob("*/children")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text()]


def test_darkness_fails_no_model_and_proves_none(device: Device, tmp_path: Path) -> None:
    """While neither model detects anything the trial goes on, however many frames there are."""
    device.configure(source=write_clip(tmp_path, lit=False))
    device.good(lamps.write(tmp_path, "1"))
    device.staged(lamps.write(tmp_path, "2"))
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
        seen = len(device.published("detections"))
        assert wait_until(lambda: len(device.published("detections")) > seen + 80), daemon.log
        assert device.model["state"] == "trial"
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert present(device.state.trial).frames > 30
    assert device.state.refused == ()


def test_dusk_on_the_street_fails_no_good_model(device: Device, tmp_path: Path) -> None:
    """The drawn street goes dark every few seconds: the model in the box, as a new version of itself, becomes good."""
    box = tmp_path / "vedette-street.tflite"
    shutil.copy(BOX_MODEL, box)
    new = bundles.altered(box, version="2").rename(tmp_path / "street-2.tflite")
    device.configure(source="synthetic?misbehave=dark:3:5")
    device.good(box.rename(tmp_path / "street-1.tflite"))
    device.staged(new, trial=TrialRequirement(frames=100, minutes=0.2, max_latency_ratio=10))
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
        assert device.waits_for_model(state="good", installed_version="2", within_s=400), daemon.log
    assert device.state.refused == ()


def test_a_configured_model_is_not_replaced(device: Device, tmp_path: Path) -> None:
    """`detector.model` runs, whatever the store has, and the message reports it."""
    device.good(lamps.write(tmp_path, "1"))
    device.configure(detector=f"{{threads: 1, model: '{lamps.write(tmp_path, '9')}'}}")
    with device.daemon() as daemon:
        assert device.waits_for_results_of("9"), daemon.log
        assert device.waits_for_model(state="pinned", installed_version="9"), daemon.log


def test_a_candidate_that_fails_the_probe_changes_nothing(device: Device, tmp_path: Path) -> None:
    """A truncated candidate is dropped with its reason; the active model never stops."""
    device.good(lamps.write(tmp_path, "1"))
    cut = tmp_path / "lamps-2.tflite"
    cut.write_bytes(lamps.write(tmp_path, "1").read_bytes()[:1200])
    device.staged(cut)
    with device.daemon() as daemon:
        assert wait_until(lambda: device.model.get("last_outcome") is not None), daemon.log
        assert device.waits_for_model(state="good", installed_version="1"), daemon.log
        assert "lamps 2" in device.model["last_outcome"]
    assert device.state.candidate is None
    sha256 = hashlib.sha256(cut.read_bytes()).hexdigest()
    assert not device.store().path_of(sha256).exists()
    assert device.state.refusal_of(sha256)
