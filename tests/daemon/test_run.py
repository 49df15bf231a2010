"""The daemon, seen from outside: real process, real broker, real model, real video."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.notify_socket import NotifySocket
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.truth.bright_squares import write_clip, write_model
from tests.support.waiting.until import wait_until
from vedette.detect.box_model import BOX_MODEL

pytestmark = pytest.mark.daemon


def test_a_subscriber_receives_every_message_of_the_contract(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """Availability, info, model, camera, counts, health and true detections arrive, and `offline` at the end."""
    with RunningDaemon(tmp_path, "--config", write_config(tmp_path, broker.port)) as daemon:
        assert subscriber.waits_for_results(12), daemon.log
        assert wait_until(lambda: subscriber.published("counts") and subscriber.published("model")
                          and subscriber.published("model")[-1]["state"] == "pinned")
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    results = subscriber.results
    assert [result["seq"] for result in results[:10]] == list(range(1, 11))
    assert {result["run"] for result in results} == {1}
    assert all(found["label"] == "lamp" for result in results for found in result["detections"])
    assert all(len(result["detections"]) == 1 for result in results)
    xmin, ymin, xmax, ymax = results[0]["detections"][0]["box"]
    assert 0.2 < (ymin + ymax) / 2 < 0.55
    assert xmin < xmax
    assert next(message["counts"] for message in subscriber.published("counts") if message["counts"]) == {"lamp": 1}
    availability = subscriber.availability
    assert availability[0] == b"online"
    assert availability[-1] == b"offline"
    final = subscriber.health["capture"]
    assert final["captured"] == final["detected"] + sum(final["dropped"].values()) + final["pending"]
    assert final["detected"] >= 12
    assert subscriber.published("info")[-1]["detector"]["labels"] == ["background", "lamp"]


def test_print_and_frames_options(tmp_path: Path) -> None:
    """`--print` gives a JSON line for each result, `--frames N` ends after N with code 0, without any broker."""
    config = write_config(tmp_path, 1)
    done = vedette("run", "--config", config, "--print", "--frames", "5", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["seq"] for result in results] == [1, 2, 3, 4, 5]
    assert results[0]["schema"] == "vedette.detections/1"


def test_the_end_of_a_file_ends_the_run_with_every_frame_detected(tmp_path: Path) -> None:
    """In every-frame mode each frame is detected once, in order, however long the first waits; the run ends with 0."""
    config = write_config(tmp_path, 1, camera=f"{{source: '{tmp_path / 'lit.avi'}', every_frame: true, "
                                              "max_frame_age_ms: 60000}")
    write_clip(tmp_path, frames=17)
    done = vedette("run", "--config", config, "--print", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"]["seq"] for line in done.stdout.splitlines()] == list(range(1, 18))


def test_runs_are_numbered_durably(tmp_path: Path) -> None:
    """`run` grows by one at every start."""
    config = write_config(tmp_path, 1)
    runs = [json.loads(vedette("run", "--config", config, "--print", "--frames", "1", folder=tmp_path).stdout)["run"]
            for _ in range(2)]
    assert runs == [1, 2]


def test_a_second_daemon_on_one_state_folder_is_refused(tmp_path: Path) -> None:
    """Two of them would evict each other for ever; the message of the second names the first."""
    config = write_config(tmp_path, 1)
    with RunningDaemon(tmp_path, "--config", config, "--print") as first:
        assert first.waits_for_results(1), first.log
        second = vedette("run", "--config", config, folder=tmp_path)
        assert second.returncode == 69
        assert str(first.process.pid) in second.stderr


def test_the_daemon_detects_without_opencv(tmp_path: Path) -> None:
    """Where the camera scales for the model, the daemon itself never loads OpenCV."""
    with RunningDaemon(tmp_path, "--source", "synthetic", "--model", BOX_MODEL, "--print") as daemon:
        assert daemon.waits_for_results(20), daemon.log
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "numpy" in maps
        assert "cv2" not in maps


def test_the_broker_may_come_late(tmp_path: Path) -> None:
    """Without a broker the daemon detects; when the broker starts it receives everything that was kept."""
    broker = Mosquitto(tmp_path)
    config = write_config(tmp_path, broker.port)
    with RunningDaemon(tmp_path, "--config", config, "--print") as daemon:
        assert daemon.waits_for_results(5), daemon.log
        broker.start()
        try:
            with listening(broker.client(), f"vedette/{DEVICE}/#") as subscriber:
                assert subscriber.waits_for_results(5), daemon.log
                assert wait_until(lambda: subscriber.health["state"] is not None)
        finally:
            broker.stop()


def test_a_killed_capture_child_is_replaced(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """Frames flow again from a new child, sequence numbers continue, and MQTT stays connected."""
    with RunningDaemon(tmp_path, "--config", write_config(tmp_path, broker.port)) as daemon:
        assert subscriber.waits_for_results(3), daemon.log
        before = daemon.child_pid()
        os.kill(before, signal.SIGKILL)
        seen = len(subscriber.results)
        assert subscriber.waits_for_results(seen + 8), daemon.log
        assert daemon.child_pid() != before
        seqs = [result["frame"]["seq"] for result in subscriber.results]
        assert seqs == sorted(set(seqs))
        assert subscriber.availability == [b"online"]


def test_reload_applies_live_keys_names_the_others_and_survives_nonsense(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """After SIGHUP a good file applies at once, a restart key is named, and a bad file is reported without effect."""
    config = write_config(tmp_path, broker.port)
    clip, model = write_clip(tmp_path), write_model(tmp_path)
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert subscriber.waits_for_results(2), daemon.log
        config.write_text(config.read_text().replace("{interval_s: 1}", "{interval: 1}"))
        daemon.signal(signal.SIGHUP)
        assert subscriber.waits_for_reason("config_rejected"), daemon.log
        assert "did you mean" in daemon.log
        write_config(tmp_path, broker.port, camera=f"{{source: '{clip}', loop: true, fps: 7}}",
                     detector=f"{{model: '{model}', threads: 1, deny: [lamp]}}")
        daemon.signal(signal.SIGHUP)
        assert subscriber.waits_for_reason("restart_needed"), daemon.log
        detail = next(reason["detail"] for reason in subscriber.health["reasons"]
                      if reason["code"] == "restart_needed")
        assert detail == "camera.fps"
        assert wait_until(lambda: subscriber.results[-1]["detections"] == [])


def handles(daemon: RunningDaemon, number: signal.Signals) -> bool:
    """Return whether the process has a handler for the signal: proc(5), SigCgt."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


def test_a_reload_while_the_model_is_being_opened_is_not_lost(tmp_path: Path, broker: Mosquitto,
                                                              subscriber: Subscriber) -> None:
    """Keys that SIGHUP changes before there is a detector apply to the first results."""
    config = write_config(tmp_path, broker.port)
    clip, model = write_clip(tmp_path), write_model(tmp_path)
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert daemon.waits_for_log("device gate"), daemon.log
        write_config(tmp_path, broker.port, camera=f"{{source: '{clip}', loop: true}}",
                     detector=f"{{model: '{model}', threads: 1, deny: [lamp]}}")
        assert wait_until(lambda: handles(daemon, signal.SIGHUP)), daemon.log       # from then on it starts its parts
        daemon.signal(signal.SIGHUP)
        assert daemon.waits_for_log("reloaded"), daemon.log
        seen = len(subscriber.results)
        assert subscriber.waits_for_results(seen + 3), daemon.log
        assert subscriber.results[-1]["detections"] == []


def test_commands_over_mqtt(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """snapshot, pause, resume and restart are carried out and answered; a command that is not allowed is refused."""
    config = write_config(tmp_path, broker.port, commands="{allow: [snapshot, pause, resume, restart]}")

    def ask(name: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        before = len(subscriber.published(f"reply/{name}"))
        send(broker.client(), f"vedette/{DEVICE}/cmd/{name}", json.dumps(arguments or {}).encode(), name=name)
        assert wait_until(lambda: len(subscriber.published(f"reply/{name}")) > before), daemon.log
        return subscriber.published(f"reply/{name}")[-1]

    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert subscriber.waits_for_results(2), daemon.log
        answer = ask("snapshot", {"transaction": "a1"})
        assert (answer["status"], answer["transaction"]) == ("ok", "a1")
        assert wait_until(lambda: any(message.topic.endswith("/snapshot") and message.payload[:2] == b"\xff\xd8"
                                      for message in tuple(subscriber.received)))
        assert ask("pause", {"seconds": 60})["status"] == "ok"
        assert subscriber.waits_for_reason("paused")
        assert wait_until(lambda: subscriber.published("counts")[-1]["counts"] is None)
        assert ask("resume")["status"] == "ok"
        assert wait_until(lambda: subscriber.published("counts")[-1]["counts"] == {"lamp": 1})
        assert ask("rollback")["status"] == "refused"
        assert ask("restart")["status"] == "ok"
        assert daemon.ends() == 0


def test_stacks_of_every_thread_on_request(tmp_path: Path) -> None:
    """SIGUSR1 writes every thread's stack and changes nothing; SIGABRT writes them and dies."""
    config = write_config(tmp_path, 1)
    with RunningDaemon(tmp_path, "--config", config, "--print") as daemon:
        assert daemon.waits_for_results(1), daemon.log
        daemon.signal(signal.SIGUSR1)
        assert daemon.waits_for_log("pipeline.py"), daemon.log
        seen = len(daemon.lines)
        assert daemon.waits_for_results(seen + 3)
        daemon.signal(signal.SIGABRT)
        assert daemon.ends() == -signal.SIGABRT
        assert daemon.log.count("most recent call first") >= 8


def test_under_a_service_manager_a_bad_model_is_reported_and_the_device_stays(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """In the field nobody reads an exit code: the device stays connected and reports the cause."""
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"<!DOCTYPE html><title>404</title>")
    config = write_config(tmp_path, broker.port, model=bad)
    with NotifySocket(tmp_path) as systemd, \
            RunningDaemon(tmp_path, "--config", config, env=systemd.environ) as daemon:
        assert systemd.receives("READY=1"), daemon.log
        assert subscriber.waits_for_reason("model_refused"), daemon.log
        health = subscriber.health
        assert health["state"] == "failed"
        assert "HTML" in health["reasons"][0]["detail"] + health["reasons"][-1]["detail"]
        assert subscriber.published("counts")[-1]["counts"] is None
        assert subscriber.results == []
        assert systemd.receives("WATCHDOG=1", 240), daemon.log
        shutil.copy(BOX_MODEL, bad)
        assert wait_until(
            lambda: "model_refused" not in {each["code"] for each in subscriber.health["reasons"]}, 20)
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0


def test_a_device_without_a_model_stays_and_reports_it(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """A device with a camera and no model publishes `failed: no_model`."""
    with RunningDaemon(tmp_path, "--config", write_config(tmp_path, broker.port, detector="{model: null}")) as daemon:
        assert subscriber.waits_for_reason("no_model"), daemon.log
        assert subscriber.health["state"] == "failed"
        daemon.signal(signal.SIGINT)
        assert daemon.ends() == 0


BAD_MODELS = {
    "missing": None,
    "empty": b"",
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "random": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("kind", [*BAD_MODELS, "truncated"])
def test_a_bad_model_ends_a_run_by_hand_with_one_line(tmp_path: Path, kind: str) -> None:
    """Missing, empty, HTML, random and truncated files: code 65, a clear line, no traceback, no result."""
    path = tmp_path / f"{kind}.tflite"
    content = BAD_MODELS.get(kind, write_model(tmp_path).read_bytes()[:700])
    if content is not None:
        path.write_bytes(content)
    done = vedette("run", "--config", write_config(tmp_path, 1, model=path), "--print", folder=tmp_path)
    assert done.returncode == 65, done.stderr
    assert done.stdout == ""
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("source", "code"), [("nowhere.mp4", 69), ("text.mp4", 65), ("empty_folder", 65)])
def test_a_bad_source_ends_a_run_by_hand_with_one_line(tmp_path: Path, source: str, code: int) -> None:
    """A missing file, one that is no video, and a folder without pictures are named, with a documented code."""
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "empty_folder").mkdir()
    done = vedette("run", "--config", write_config(tmp_path, 1, source=tmp_path / source), "--print", folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert source in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("args", "code", "message"), [
    (("run", "--frames", "0"), 64, "--frames"),
    (("run", "--nonsense"), 64, "nonsense"),
    (("watch",), 64, "unknown command"),
    (("chek-config", "--config", "bad.yaml"), 64, "did you mean check-config?"),
    (("model", "instal", "bad.yaml"), 64, "did you mean model install?"),
    (("modle", "install"), 64, "did you mean model install?"),
    (("run", "--source", "07", "--model", str(BOX_MODEL), "--print"), 69, "is /dev/video07 meant?"),
    (("run", "--config", "missing.yaml"), 78, "missing.yaml"),
    (("run", "--config", "bad.yaml"), 78, "did you mean"),
])
def test_bad_calls_end_with_a_documented_code(tmp_path: Path, args: tuple[str, ...], code: int, message: str) -> None:
    """Usage ends with 64, configuration with 78, each with a helpful message."""
    (tmp_path / "bad.yaml").write_text("camera: {fsp: 15}\n")
    done = vedette(*args, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
