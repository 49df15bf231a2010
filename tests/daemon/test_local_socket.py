"""The local socket of a whole daemon, without a broker: what commands and clients get, and what rude ones cost."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.network.local_clients import connect, get, get_json, reply_of, request, send
from tests.support.network.ports import free_port
from tests.support.present import present
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon


def path_of(folder: Path) -> Path:
    return folder / "run" / "socket"


@contextmanager
def running(folder: Path, more: str = "") -> Iterator[RunningDaemon]:
    """A daemon whose socket answers. `more`: lines of its configuration."""
    (folder / "run").mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(f"device: gate\nmqtt: {{port: {free_port()}}}\ncamera: {{source: synthetic, fps: 10}}\n{more}")
    with RunningDaemon(folder, "--config", config, "--print", env={"RUNTIME_DIRECTORY": str(folder / "run")}) as daemon:
        assert daemon.waits_for_log("local socket: "), daemon.log
        yield daemon


def test_commands_without_a_broker(tmp_path: Path) -> None:
    """`tail`, `snapshot` and `model list` ask the daemon, and print what they print with a broker."""
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
    config = tmp_path / "config.yaml"
    with running(tmp_path) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        ended = vedette("tail", "--config", config, "gate", "--json", "--count", "8", folder=tmp_path, env=environment)
        messages = [json.loads(line) for line in ended.stdout.splitlines()]
        assert {"vedette/gate/health", "vedette/gate/camera"} <= {each["topic"] for each in messages}
        assert all(each["payload"]["schema"].startswith("vedette.") for each in messages)
        assert "asking the daemon on this machine" in ended.stderr
        out = tmp_path / "frame.jpg"
        ended = vedette("snapshot", "--config", config, "--device", "gate", "--out", out, folder=tmp_path,
                        env=environment)
        assert (ended.returncode, ended.stdout) == (0, f"{out}: {out.stat().st_size} bytes\n"), ended.stderr
        assert present(cv2.imread(str(out))).shape == (720, 1280, 3)
        other = vedette("snapshot", "--config", config, "--device", "yard", "--out", out, folder=tmp_path,
                        env=environment)
        assert (other.returncode, "no connection to the broker" in other.stderr) == (69, True)
        listed = vedette("model", "list", "--json", folder=tmp_path).stdout
        assert get_json(path_of(tmp_path), "/models") == json.loads(listed)
        (tmp_path / "file").write_text("")
        far = vedette("model", "list", "--json", "--state", tmp_path / "file", folder=tmp_path, env=environment)
        assert far.stdout == listed
        assert "outbox_dropping" not in get(path_of(tmp_path), "/health")[1].decode()
        assert get_json(path_of(tmp_path), "/events")["events"][0]["schema"] == "vedette.events/1"


def test_the_daemon_needs_no_opencv_for_a_viewer(tmp_path: Path) -> None:
    """The capture child encodes the pictures, because it has OpenCV. They come with the results of later frames."""
    with running(tmp_path) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        seen = [-1]
        while len(seen) < 4:
            line, _, jpeg = get(path_of(tmp_path), f"/frame?after={seen[-1]}")[1].partition(b"\n")
            assert present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape == (360, 640, 3)
            seen.append(json.loads(line)["seq"])
        assert seen == sorted(set(seen))
        assert "cv2" not in Path(f"/proc/{daemon.process.pid}/maps").read_text()


def test_rude_clients_disturb_nothing(tmp_path: Path) -> None:
    """Two hundred connections, garbage and clients that never read: frames are detected, and nothing is left."""
    path = path_of(tmp_path)
    with running(tmp_path) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        assert send(path, request("/frame"))[0] == 200
        before = daemon.footprint()
        clients: list[socket.socket] = []
        for number in range(200):
            clients.append(connect(path))
            with suppress(OSError):
                clients[-1].sendall(os.urandom(300) if number % 2 else request("/results"))
        seen = len(daemon.lines)
        assert daemon.waits_for_results(seen + 10), daemon.log
        for client in clients:
            client.close()
        assert wait_until(lambda: get(path, "/results")[0] == 200)      # there is room again
        result, _, jpeg = get(path, "/frame")[1].partition(b"\n")
        assert jpeg[:2] == b"\xff\xd8"
        assert json.loads(result)["frame"]["seq"] > json.loads(daemon.lines[seen - 1])["frame"]["seq"]
        assert wait_until(lambda: daemon.footprint()["fds"] <= before["fds"])
        assert daemon.footprint()["threads"] == before["threads"]
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert not path.exists()


def tries(path: Path, body: str = "") -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(send(path, request("/commands/try", "POST", body.encode()))[1])
    return reply


def sees(path: Path) -> bool:
    return bool(get_json(path, "/results")["results"][-1]["detections"])


def zones(path: Path) -> list[str]:
    """The zones in the newest message about them."""
    messages = {each["topic"]: each["payload"] for each in get_json(path, "/messages")["messages"]}
    return [*(messages.get("zones", {}).get("zones") or {})]


def advice(path: Path) -> dict[str, Any]:
    health = get_json(path, "/health")
    return {each["code"]: each for each in health["reasons"] if each["code"] == "config_tried"}


def test_what_is_tried_lasts_until_it_is_taken_back(tmp_path: Path) -> None:
    """A threshold and a zone take effect, and health says so. They end with an empty `try`, SIGHUP, and a restart."""
    path, more = path_of(tmp_path), "page: {allow: [try]}\n"
    blind = '{"detector": {"score_threshold": 1}, "zones": {"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}}'
    with running(tmp_path, more) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        assert wait_until(lambda: sees(path))
        for ends in (lambda: tries(path), lambda: daemon.signal(signal.SIGHUP)):
            assert tries(path, blind)["data"] == {"tried": ["detector.score_threshold", "zones"]}
            assert wait_until(lambda: zones(path) == ["all"] and not sees(path)), daemon.log
            assert wait_until(lambda: advice(path))
            assert advice(path)["config_tried"]["detail"] == "detector.score_threshold, zones"
            assert tries(path, '{"detector": {"score_threshold": 2}}')["status"] == "refused"
            assert get_json(path, "/config")["config"]["detector"]["score_threshold"] == 1
            ends()
            assert wait_until(lambda: sees(path) and zones(path) == [] and not advice(path)), daemon.log
            assert get_json(path, "/config")["tried"] == {}
        assert tries(path, blind)["status"] == "ok"
        assert wait_until(lambda: not sees(path))
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    with running(tmp_path, more) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        assert wait_until(lambda: sees(path))
        assert get_json(path, "/config")["tried"] == {}


def test_after_a_kill_the_next_run_has_the_socket(tmp_path: Path) -> None:
    """A pause over the socket stops detection; SIGKILL leaves the file, and the next daemon replaces it."""
    path = path_of(tmp_path)
    with running(tmp_path) as daemon:
        assert daemon.waits_for_results(1), daemon.log
        assert json.loads(send(path, request("/commands/pause", "POST"))[1])["status"] == "ok"
        assert wait_until(lambda: "paused" in get(path, "/health")[1].decode())
        with connect(path) as client:
            client.sendall(request("/frame?after=0&wait=20"))
            daemon.signal(signal.SIGKILL)
            daemon.ends()
            with suppress(AssertionError, ConnectionResetError, IndexError):
                reply_of(client)
    assert path.exists()
    with running(tmp_path):
        assert get_json(path, "/messages")["run"] == 2
