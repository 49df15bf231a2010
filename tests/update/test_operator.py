"""Manual actions of an operator: install, activate, roll back; with a daemon and without one, by command or MQTT."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.subscriber import send
from tests.support.daemon.as_service import USER, everyones_python, missing, modules
from tests.support.daemon.running import environment, vedette
from tests.support.daemon.update_device import DEVICE, Device, device_in, digest
from tests.support.models import lamps
from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import wait_until
from vedette.device.identity import StateFolder
from vedette.errors import AlreadyRunning
from vedette.store.inbox import Inbox

pytestmark = pytest.mark.slow


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with device_in(tmp_path) as one:
        yield one


def model(device: Device, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run `vedette model …`; returns its exit code and its JSON answer."""
    done = vedette("model", *words, "--json", "--config", device.config, folder=device.folder, timeout_s=240)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.daemon
def test_install_with_a_daemon_starts_the_trial_at_once(device: Device, tmp_path: Path) -> None:
    """The file is proven and becomes active on trial, the answer has that, and no frame is lost."""
    device.good(lamps.write(tmp_path, "1"))
    new = lamps.write(tmp_path, "2")
    with device.daemon() as daemon:
        assert device.waits_for_results_of("1"), daemon.log
        code, answer = model(device, "install", new)
        assert (code, answer["ok"], answer["on_trial"]) == (0, True, True), answer
        assert answer["active"]["sha256"] == digest(new)
        assert answer["previous"]["version"] == "1"
        assert device.waits_for_model(state="trial", installed_version="2"), daemon.log
        assert device.waits_for_results_of("2"), daemon.log
        seqs = [result["frame"]["seq"] for result in device.published("detections")]
        assert seqs == sorted(set(seqs))
        code, answer = model(device, "install", new)
        assert (code, answer["words"]) == (0, "lamps 2 is already active")


@pytest.mark.daemon
def test_a_refusal_has_a_reason_and_changes_nothing(device: Device, tmp_path: Path) -> None:
    """No model, labels of another one, unsigned, pinned: exit code 65, the reason, and the same model as before."""
    device.good(lamps.write(tmp_path, "1"))
    page = tmp_path / "page.tflite"
    page.write_text("<html>404</html>")
    new = lamps.write(tmp_path, "2")
    with device.daemon() as daemon:
        assert device.waits_for_results_of("1"), daemon.log
        code, answer = model(device, "install", page)
        assert (code, answer["ok"], answer["active"]["version"]) == (65, False, "1"), answer
    device.configure(detector="{threads: 1, labels: {cat: 0.5}}")
    for running in (True, False):
        with device.daemon() if running else nullcontext():
            assert not running or device.waits_for_results_of("1")
            code, answer = model(device, "install", new)
            assert code == 65, answer
            assert answer["words"].startswith("labels: the model lacks cat")
    device.configure(update="{require_signed: true}")
    for running in (True, False):
        with device.daemon() if running else nullcontext():
            assert not running or device.waits_for_results_of("1")
            code, answer = model(device, "install", new)
            assert (code, answer["words"][:9]) == (65, "unsigned:"), answer
    device.configure(detector=f"{{model: '{new}'}}")
    code, answer = model(device, "rollback")
    assert (code, answer["words"][:7]) == (65, "pinned:")
    assert present(device.state.active).version == "1"
    assert list((device.folder / "state/models/incoming").iterdir()) == []


@pytest.mark.daemon
def test_rollback_and_activate_change_the_active_model(device: Device, tmp_path: Path) -> None:
    """Each switch between two good models takes effect; the active one cannot be activated again."""
    device.good(lamps.write(tmp_path, "1"), lamps.write(tmp_path, "2"))
    with device.daemon() as daemon:
        assert device.waits_for_results_of("2"), daemon.log
        code, answer = model(device, "rollback")
        assert (code, answer["active"]["version"], answer["previous"]["version"]) == (0, "1", "2"), answer
        assert device.waits_for_results_of("1"), daemon.log
        code, answer = model(device, "activate", "2")
        assert (code, answer["active"]["version"], answer["on_trial"]) == (0, "2", False), answer
        assert device.waits_for_results_of("2"), daemon.log
        code, answer = model(device, "activate", digest(tmp_path / "lamps-2.tflite")[:10])
        assert answer["words"] == "lamps 2 is already active"
        before = device.published("reply/rollback")
        send(device.broker.client(), f"vedette/{DEVICE}/cmd/rollback", b"{}", name="asker")
        assert wait_until(lambda: len(device.published("reply/rollback")) > len(before)), daemon.log
        assert device.published("reply/rollback")[-1]["status"] == "ok"
        assert device.waits_for_results_of("1"), daemon.log
    done = vedette("model", "activate", "nothing", folder=device.folder)
    assert done.returncode == 64


def test_installing_a_good_model_again_starts_no_trial(device: Device, tmp_path: Path) -> None:
    """It was good here: another trial would lose the last good model at the next install."""
    one = lamps.write(tmp_path, "1")
    device.good(one)
    assert model(device, "install", lamps.write(tmp_path, "2"))[1]["on_trial"]
    code, answer = model(device, "install", one)
    assert (code, answer["active"]["version"], answer["on_trial"]) == (0, "1", False), answer
    code, answer = model(device, "install", lamps.write(tmp_path, "3"))
    assert (answer["active"]["version"], answer["previous"]["version"]) == ("3", "1"), answer


@pytest.mark.daemon
def test_without_a_previous_model_rollback_is_refused(device: Device, tmp_path: Path) -> None:
    """The refusal has a message, with a daemon and without one."""
    device.good(lamps.write(tmp_path, "1"))
    with device.daemon() as daemon:
        assert device.waits_for_results_of("1"), daemon.log
        assert model(device, "rollback")[0] == 65
    code, answer = model(device, "rollback")
    assert (code, answer["active"]["version"]) == (65, "1")


@pytest.mark.daemon
def test_without_a_daemon_the_next_start_runs_the_model(device: Device, tmp_path: Path) -> None:
    """It is installed, proven and on trial from the next start; so is a rollback; no lock stays behind."""
    code, answer = model(device, "install", lamps.write(tmp_path, "1"))
    assert (code, answer["on_trial"], answer["active"]["version"]) == (0, True, "1"), answer
    assert "next start" in answer["words"]
    with device.daemon() as daemon:
        assert device.waits_for_model(state="trial", installed_version="1"), daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert present(device.state.trial).starts == 1


@pytest.mark.parametrize("act", ["install", "activate"])
def test_a_model_is_probed_before_the_state_folder_is_locked(device: Device, tmp_path: Path, act: str) -> None:
    """A daemon that stops meanwhile may start again at once: the command probes without its lock."""
    new = lamps.slow(tmp_path, "1")
    if act == "activate":
        device.staged(new)
    held = StateFolder(device.folder / "state")
    asked = [act, str(new) if act == "install" else digest(new)]
    with BoundedPopen([sys.executable, "-m", "vedette", "model", *asked, "--config", device.config],
                      env=environment(device.folder), stdout=subprocess.PIPE, text=True) as command:
        assert wait_until(lambda: any((device.folder / "state/models/requests").glob("*.json")))
        held.close()
        assert wait_until(lambda: probes(command.pid) and is_free(device) and probes(command.pid))
        assert "next start" in command.communicate(timeout=240)[0]
    assert present(device.state.active).version == "1"


@pytest.mark.daemon
def test_a_daemon_that_stops_during_a_probe_refuses_nothing(device: Device, tmp_path: Path) -> None:
    """The probe is ended, and the next process carries out the request: here the command itself."""
    device.good(lamps.write(tmp_path, "1"))
    new = lamps.write(tmp_path, "2", layers=200)      # takes a second
    with device.daemon() as daemon:
        assert device.waits_for_results_of("1"), daemon.log
        with BoundedPopen([sys.executable, "-m", "vedette", "model", "install", new, "--config", device.config],
                          env=environment(device.folder), stdout=subprocess.PIPE, text=True) as command:
            assert wait_until(lambda: any((device.folder / "state/models/requests").glob("*.taken")))
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0, daemon.log
            answer = command.communicate(timeout=240)[0]
    assert "next start" in answer, daemon.log
    assert present(device.state.active).version == "2"


@pytest.mark.daemon
@pytest.mark.parametrize("next_one", ["the command", "a daemon"])
def test_a_daemon_that_dies_between_file_and_state_loses_no_request(device: Device, tmp_path: Path,
                                                                    next_one: str) -> None:
    """The file is in the store but not in the state: while a command waits for it, it stays and is activated."""
    device.good(lamps.write(tmp_path, "1"))
    new = lamps.write(tmp_path, "2")
    held = StateFolder(device.folder / "state")
    with BoundedPopen([sys.executable, "-m", "vedette", "model", "install", new, "--config", device.config],
                      env=environment(device.folder), stdout=subprocess.PIPE, text=True) as command:
        store = device.store()
        assert wait_until(lambda: any((store.folder / "requests").glob("*.json")))
        request = present(Inbox(store.folder).next_request(store.state))
        store.adopt(store.incoming / present(request.upload), present(request.sha256))
        if next_one == "the command":
            held.close()
            assert "next start" in command.communicate(timeout=240)[0]
        else:
            command.send_signal(signal.SIGSTOP)
            held.close()
            with device.daemon() as daemon:
                done = device.waits_for_results_of("2")
                command.send_signal(signal.SIGCONT)
                assert done, daemon.log
                assert "is active, on trial" in command.communicate(timeout=240)[0]
        assert command.returncode == 0
    assert present(device.state.active).version == "2"
    device.store().recover()
    kept = {digest(tmp_path / f"lamps-{number}.tflite") for number in (1, 2)}
    assert {path.stem for path in device.store().folder.glob("*.tflite")} == kept


def probes(pid: int) -> bool:
    """Whether a process has a child."""
    return any(path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/children"))


def is_free(device: Device) -> bool:
    try:
        StateFolder(device.folder / "state").close()
    except AlreadyRunning:
        return False
    return True


@pytest.mark.skipif(bool(missing()), reason=str(missing()))
def test_files_that_root_installs_belong_to_the_daemons_user(tmp_path: Path) -> None:
    """Root's command writes as the owner of the state folder, who may not even read root's file."""
    new = lamps.write(tmp_path, "1")
    new.chmod(0o600)
    with tempfile.TemporaryDirectory() as name, device_in(Path(name)) as device:
        device.folder.chmod(0o755)
        os.chown(device.folder / "state", USER, USER)
        done = subprocess.run(
            [present(everyones_python()), "-m", "vedette", "model", "install", new, "--config", device.config],
            text=True,
            capture_output=True, timeout=240, check=False, cwd=device.folder,
            env={**environment(device.folder), **modules()})
        assert done.returncode == 0, done.stderr
        assert {path.stat().st_uid for path in (device.folder / "state").rglob("*")} == {USER}


def test_a_process_that_answers_no_request_gives_69(device: Device, tmp_path: Path) -> None:
    """It holds the state folder and takes no request: exit code 69, and the request is withdrawn."""
    with closing(StateFolder(device.folder / "state")):
        code, answer = model(device, "install", lamps.write(tmp_path, "1"), "--wait", "0.5")
    assert (code, answer["ok"]) == (69, False), answer
    assert list((device.folder / "state/models/requests").iterdir()) == []
