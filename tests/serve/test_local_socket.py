"""The local socket with real clients: what they get, and what they cannot do."""

from __future__ import annotations

import grp
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.daemon.as_nobody import NOBODY, as_nobody, in_fork
from tests.support.fakes import IDENTITY, make_frame, make_result
from tests.support.network.local_clients import connect, get, get_json, reply_of, request, send
from tests.support.network.local_rig import LISTED, PERSON, Rig, started
from tests.support.present import present
from tests.support.waiting.until import eventually, wait_until
from vedette.config.models import Config
from vedette.errors import DaemonAway
from vedette.serve.local import published, recent_results, server
from vedette.serve.local.client import LocalClient, daemons
from vedette.serve.local.server import CLIENTS, LocalSocket
from vedette.serve.local.socket_file import SocketFile
from vedette.types import Message
from vedette.vision.limits import Limits


class Impatient(LocalSocket):
    """Drops a slow client soon, and checks its file at each step."""

    request_s, reply_s, check_s, rest_s = 0.5, 0.5, 0.0, 0.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(Rig(tmp_path)) as one:
        yield one


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Rig]:
    with started(Rig(tmp_path, Impatient)) as one:
        yield one


def viewed(rig: Rig, target: str = "/frame") -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """The newest frame, while results come: the result and the picture."""
    with connect(rig.path) as client:
        client.sendall(request(target))
        assert wait_until(lambda: rig.see(rig.seq * 16 % 256) and _readable(client))
        status, body = reply_of(client)
    assert status == 200
    line, _, jpeg = body.partition(b"\n")
    return json.loads(line), present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))


def _readable(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.settimeout(60)


def test_a_frame_comes_with_its_own_result(rig: Rig) -> None:
    """The grey of the picture is that of the frame which the result names, in each of several frames."""
    for _ in range(3):
        result, picture = viewed(rig)
        assert abs(float(picture.mean()) - (result["frame"]["seq"] - 1) * 16 % 256) < 3
        assert result["schema"] == "vedette.detections/1"
        assert result["detections"][0]["track"] == 3


def test_the_camera_encodes_the_frame_that_it_has(rig: Rig) -> None:
    """What it gives reaches the viewer with the result of that frame. Another picture, an empty one, or none at all is
    followed by another order.
    """
    rig.camera.encodes = True
    give = present(rig.camera.on_picture)
    with connect(rig.path) as client:
        client.sendall(request("/frame"))
        assert wait_until(lambda: rig.see() and rig.camera.orders)
        give(rig.camera.orders[0] + 1000, b"another")
        rig.results._ordered_s -= recent_results.ORDER_S
        assert wait_until(lambda: rig.see() and len(rig.camera.orders) == 2)
        give(rig.camera.orders[0], b"late")
        give(rig.camera.orders[1], b"")
        assert wait_until(lambda: rig.see() and len(rig.camera.orders) == 3)
        assert not _readable(client)
        give(rig.camera.orders[2], b"jpeg")
        status, body = reply_of(client)
    assert (status, body.partition(b"\n")[2]) == (200, b"jpeg")
    assert json.loads(body.partition(b"\n")[0])["frame"]["seq"] == rig.camera.orders[2]
    assert not rig.results._pixels


def test_a_camera_that_gives_its_pictures_late(rig: Rig) -> None:
    """Where frames are seconds apart, so are the pictures: one that comes before another was ordered still counts."""
    rig.camera.encodes = True
    with connect(rig.path) as client:
        client.sendall(request("/frame"))
        assert wait_until(lambda: rig.see() and rig.camera.orders)
        rig.results._ordered_s -= recent_results.ORDER_S
        assert wait_until(lambda: rig.results._state == recent_results.WANTED)
        present(rig.camera.on_picture)(rig.camera.orders[0], b"jpeg")
        assert reply_of(client)[1].endswith(b"\njpeg")


def test_a_frame_that_the_viewer_has_is_not_sent_again(rig: Rig) -> None:
    """With `after`, it waits for another one; with no other, it gets 204, and without `after` the last there is."""
    result, _ = viewed(rig)
    later, _ = viewed(rig, f"/frame?after={result['seq']}")
    assert later["seq"] > result["seq"]
    assert get(rig.path, f"/frame?wait=0&after={later['seq']}") == (204, b"")
    assert get(rig.path, "/frame?wait=0")[1].startswith(json.dumps(later, separators=(",", ":")).encode()[:60])


def test_all_viewers_share_one_picture(rig: Rig) -> None:
    """Four that wait get the same bytes, and the frame is encoded once."""
    clients = [connect(rig.path) for _ in range(4)]
    for client in clients:
        client.sendall(request("/frame"))
    assert wait_until(lambda: sum(each.is_waiting for each in rig.socket._exchanges.values()) == 4)
    assert wait_until(lambda: rig.see() and rig.results.encoded)
    bodies = {reply_of(client) for client in clients}
    for client in clients:
        client.close()
    assert len(bodies) == rig.results.encoded == 1


def test_nobody_costs_nothing(impatient: Rig) -> None:
    """Without a viewer no pixel is copied and nothing is encoded; after the last viewer the copy is freed."""
    rig = impatient
    for _ in range(50):
        rig.see()
    assert (rig.results.encoded, len(rig.results._pixels)) == (0, 0)
    viewed(rig)
    encoded = rig.results.encoded
    assert wait_until(lambda: not rig.results._pixels)
    rig.see()
    assert (rig.results.encoded, len(rig.results._pixels)) == (encoded, 0)


def test_the_picture_has_the_configured_size(tmp_path: Path) -> None:
    """It fits into width and height, with its aspect; a reload changes them; a smaller one is not scaled up."""
    with started(Rig(tmp_path, width=32, height=32)) as rig:
        result, picture = viewed(rig)
        assert picture.shape == (24, 32, 3)
        rig.reload(width=640, height=360)
        assert viewed(rig, f"/frame?after={result['seq']}")[1].shape == (48, 64, 3)


def test_no_more_pictures_than_configured(tmp_path: Path) -> None:
    """A viewer that asks without end gets no second one while the first is new; a reload ends that."""
    with started(Rig(tmp_path, fps=0.001)) as rig:
        first, _ = viewed(rig)
        with connect(rig.path) as client:
            client.sendall(request(f"/frame?after={first['seq']}"))
            assert wait_until(lambda: rig.clients == 1)
            for _ in range(20):
                rig.see()
                assert get(rig.path, "/results")[0] == 200      # the thread has had its turn
            assert rig.results.encoded == 1
            rig.reload(fps=30)
            assert wait_until(lambda: rig.see() and rig.results.encoded == 2)
            assert reply_of(client)[0] == 200


@pytest.mark.parametrize(("garbage", "status"), [
    (b"\x00\xff" * 50 + b"\r\n\r\n", 400), (b"GET / HTTP/9\r\n\r\n", 400), (b"GET  /health HTTP/1.1\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400), (b"A" * 20_000, 431),
    (b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400), (request("/health") + b"more", 400),
    (b"POST /commands/pause HTTP/1.1\r\nContent-Length: 999999\r\n\r\n", 413), (request("/frame?wait=x"), 400),
    (request("/" + "../" * 9 + "etc/passwd"), 404), (request("/commands/pause"), 404), (request("/best"), 404),
    (request("/best/%2e%2e%2fhealth"), 404), (request("/health"), 404), (request("/%ff%00"), 404),
    (request("/frame?" + "a=1&" * 50), 400),
])
def test_garbage_is_refused(rig: Rig, garbage: bytes, status: int) -> None:
    """Each gets a status, and the next client is served."""
    assert send(rig.path, garbage)[0] == status
    assert get(rig.path, "/results")[0] == 200
    assert rig.commands == []


def test_who_never_reads_is_dropped(impatient: Rig) -> None:
    """Large replies to clients that do not read: they lose their connection, and others are served meanwhile."""
    impatient.published.publish(Message("best/person", os.urandom(4_000_000), retain=True))
    clients = [connect(impatient.path) for _ in range(5)]
    for client in clients:
        client.sendall(request("/best/person"))
    assert get(impatient.path, "/results")[0] == 200
    assert wait_until(lambda: impatient.socket.dropped == 5)
    assert impatient.clients == 0
    for client in clients:
        client.close()


def test_who_never_asks_is_dropped(impatient: Rig) -> None:
    """Without a whole request in time, the connection ends without a reply."""
    with connect(impatient.path) as client:
        client.sendall(b"GET /fra")
        assert client.recv(100) == b""
    assert impatient.socket.dropped == 1


def test_two_hundred_connections(rig: Rig) -> None:
    """Only so many are held, the others are refused at once; when they have left, all is as before."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    clients = [connect(rig.path) for _ in range(200)]
    assert wait_until(lambda: rig.socket.refused == 200 - CLIENTS)
    assert rig.clients == CLIENTS
    assert {reply_of(client)[0] for client in clients[CLIENTS:]} == {503}
    for client in clients:
        client.close()
    assert wait_until(lambda: rig.clients == 0)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert get(rig.path, "/results")[0] == 200


def test_killed_clients_leave_nothing(rig: Rig) -> None:
    """Processes that wait for frames and messages die by SIGKILL, one after another."""
    code = ("import socket, sys; client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1]); "
            "client.sendall(sys.argv[2].encode()); print('asked', flush=True); client.recv(1)")
    for target in ("/frame", f"/messages?after={IDENTITY.run}-0"):
        process = subprocess.Popen([sys.executable, "-c", code, str(rig.path), request(target).decode()],
                                   stdout=subprocess.PIPE, text=True)
        assert present(process.stdout).readline() == "asked\n"
        assert wait_until(lambda: rig.clients == 1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert wait_until(lambda: rig.clients == 0)
    rig.see()
    assert get(rig.path, "/results")[0] == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_rights(rig: Rig, tmp_path: Path) -> None:
    """A stranger cannot connect, and is refused where the mode let it; a member of the socket's group is served."""
    tmp_path.chmod(0o711)
    assert rig.path.stat().st_mode & 0o777 == 0o660
    os.chown(rig.path, -1, 4321)

    def stranger() -> str:
        try:
            return str(get(rig.path, "/results")[0])
        except PermissionError:
            return "no connection"

    def member() -> str:
        os.setgroups([4321])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return str(get(rig.path, "/results")[0])
    rig.socket._file.group = 4321
    assert (as_nobody(stranger), in_fork(member)) == ("no connection", "200")
    rig.path.chmod(0o666)
    assert as_nobody(stranger) == "403"
    assert rig.socket.refused == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give any group")
def test_the_group(tmp_path: Path) -> None:
    """The socket gets the group of that name; where there is none, it keeps that of the process."""
    for group, expected in (("daemon", grp.getgrnam("daemon").gr_gid), ("no-such-group", os.getegid())):
        file = SocketFile(tmp_path / "socket", group)
        file.open()
        assert (file.group, file.path.stat().st_gid) == (expected, expected)
        file.close()
        assert not file.path.exists()


def test_the_socket_of_a_dead_run_is_replaced(tmp_path: Path) -> None:
    """A process that was killed leaves its file; so does a plain file at that place."""
    path = tmp_path / "socket"
    code = ("import os, signal, sys; from pathlib import Path; from vedette.serve.local.socket_file import SocketFile; "
            "SocketFile(Path(sys.argv[1])).open(); os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -signal.SIGKILL
    assert path.exists()
    with started(Rig(tmp_path)):
        assert wait_until(lambda: daemons([path], "+"))
    path.write_text("not a socket")
    with started(Rig(tmp_path)) as rig:
        assert wait_until(rig.path.is_socket)


def test_the_socket_of_a_living_run_is_not(rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second one reports it, works without, and takes its place once the first has stopped."""
    second = Rig(tmp_path, Impatient)
    with caplog.at_level(logging.WARNING):
        second.socket.start()
        assert wait_until(lambda: "another daemon listens there" in caplog.text)
    rig.published.publish(Message("health", b'{"of": "the first"}', retain=True))
    assert get_json(rig.path, "/health") == {"of": "the first"}
    assert rig.socket.stop(60)
    assert wait_until(rig.path.exists)
    assert get(rig.path, "/health")[0] == 404
    assert second.socket.stop(60)


def test_a_socket_that_is_deleted_comes_back(impatient: Rig) -> None:
    """Somebody tidied the folder."""
    impatient.path.unlink()
    assert wait_until(impatient.path.exists)
    assert get(impatient.path, "/results")[0] == 200


def test_a_long_path(tmp_path: Path) -> None:
    """An address of a unix socket has 107 bytes; a path may have more."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with started(Rig(folder)) as rig:
        assert LocalClient(rig.path).models() == LISTED
    file = SocketFile(tmp_path / "none" / "socket")
    with pytest.raises(FileNotFoundError):
        file.open()


def test_messages_first_what_is_retained_then_what_is_new(rig: Rig) -> None:
    """A waiting client wakes at the next message; one that was away too long begins again."""
    rig.published.publish(Message("camera", b'{"state": "capturing"}', retain=True))
    rig.published.publish(Message("detections", b'{"seq": 1}'))
    rig.published.publish(Message("/homeassistant/device/gate/config", b"{}", retain=True))
    client = LocalClient(rig.path)
    assert client.messages() == [("camera", {"state": "capturing"})]
    assert client.messages() == []
    threading.Timer(0.1, rig.published.publish, [Message("counts", b'{"counts": null}', retain=True)]).start()
    assert client.messages(wait_s=30) == [("counts", {"counts": None})]
    for number in range(published.MESSAGES_KEPT + 1):
        rig.published.publish(Message("detections", b'{"seq": %d}' % number))
    assert client.messages() == [("camera", {"state": "capturing"}), ("counts", {"counts": None})]
    assert get_json(rig.path, "/messages?after=6-1&wait=20")["next"] == f"7-{published.MESSAGES_KEPT + 4}"
    assert len(rig.broker.messages) == published.MESSAGES_KEPT + 5


def test_events_and_pictures(rig: Rig) -> None:
    """Of each event the newest message; a picture until it is taken back."""
    rig.published.on_event("7-1", b'{"id": "7-1", "type": "start"}')
    rig.published.on_event("7-2", b'{"id": "7-2", "type": "start"}')
    rig.published.on_event("7-1", b'{"id": "7-1", "type": "end"}')
    rig.published.publish(Message("events", b'{"id": "7-2", "type": "start"}'))
    events = get_json(rig.path, "/events")["events"]
    assert [(each["id"], each["type"]) for each in events] == [("7-2", "start"), ("7-1", "end")]
    rig.published.publish(Message("best/a%2Fb", b"\xff\xd8jpeg", retain=True))
    assert get(rig.path, "/best/a%252Fb") == (200, b"\xff\xd8jpeg")
    assert ("best/a%2Fb", None) in LocalClient(rig.path).messages()
    rig.published.publish(Message("best/a%2Fb", b"", retain=True))
    assert get(rig.path, "/best/a%252Fb")[0] == 404
    assert [len(message.payload) for message in rig.broker.messages[1:]] == [6, 0]


def test_log_and_results(rig: Rig) -> None:
    """The last lines of the log with printable characters only, and the last results in the shape of the topic."""
    logging.getLogger("vedette.x").warning("a line \x1b[2J")
    assert "a line \\x1b[2J" in get_json(rig.path, "/log")["lines"][-1]
    for _ in range(recent_results.RESULTS_KEPT + 5):
        rig.see()
    results = get_json(rig.path, "/results")["results"]
    assert [each["seq"] for each in results] == list(range(6, recent_results.RESULTS_KEPT + 6))
    assert results[0]["frame"]["width"] == 64


def test_commands(rig: Rig) -> None:
    """Those of `page.allow` reach the desk, and their reply comes back. Others do not, nor such arguments."""
    with connect(rig.path) as client:
        client.sendall(request("/commands/pause", "POST", b'{"seconds": 5}'))
        command = eventually(lambda: rig.commands[0] if rig.commands else None)
        assert (command.name, command.arguments) == ("pause", {"seconds": 5})
        present(command.on_reply)(b'{"status": "ok"}', b"")
        assert reply_of(client) == (200, b'{"status": "ok"}')
    for name, body in (("restart", b""), ("pause", b"[1]"), ("pause", b"{"), ("pause", b"[" * 50_000)):
        assert json.loads(send(rig.path, request(f"/commands/{name}", "POST", body))[1])["status"] == "refused"
    assert send(rig.path, request("/commands/resume?wait=0", "POST"))[0] == 504
    assert [each.name for each in rig.commands] == ["pause", "resume"]
    rig.reload(allow=())
    assert json.loads(send(rig.path, request("/commands/pause", "POST"))[1])["status"] == "refused"


def test_the_configuration_that_runs(tmp_path: Path) -> None:
    """It has what a page shows, as the file would have it, what of it is tried, and which commands are allowed."""
    with started(Rig(tmp_path, allow=("try",))) as rig:
        answer = get_json(rig.path, "/config")
        assert (answer["tried"], answer["allow"], answer["places"]) == ({}, ["try"], {})
        config = Config().model_dump(mode="json")
        shown = {key: value for key, value in config["detector"].items() if key in answer["config"]["detector"]}
        assert answer["config"]["detector"] == shown
        assert shown.keys() == {"score_threshold", "iou_threshold", "max_detections", "labels", "allow", "deny"}
        assert answer["config"]["camera"] == {"rotate": 0, "roi": None, "masks": [], "max_frame_age_ms": 1000}
        assert answer["config"].keys() == {"camera", "detector", "publish", "events", "zones", "lines", "homeassistant",
                                           "governor", "health"}
        wanted = {"lines": {"gate": {"from": [0, 0.5], "to": [1, 0.5]}}}
        rig.reloader.try_out(wanted)
        answer = get_json(rig.path, "/config")
        assert answer["tried"] == wanted
        assert answer["config"]["lines"] == {"gate": {"from": [0, 0.5], "to": [1, 0.5], "labels": []}}
        rig.limits = Limits(0.35, 0.6, 100, {"person": 0.4}, frozenset(), frozenset())
        detector = get_json(rig.path, "/config")["config"]["detector"]
        assert (detector["score_threshold"], detector["iou_threshold"]) == (0.35, 0.6), "those of the model"
        assert detector["labels"] == {"person": 0.4}
        assert get_json(rig.path, "/config")["places"] == {
            "lines": "tried", "detector.score_threshold": "model", "detector.iou_threshold": "model",
            "detector.labels": "model"}


def test_a_snapshot_comes_after_its_reply(rig: Rig) -> None:
    """The client gets the JPEG, or the message of a refusal."""
    def carry_out(reply: bytes, jpeg: bytes) -> None:
        command = eventually(lambda: rig.commands.pop() if rig.commands else None)
        present(command.on_reply)(reply, jpeg)
    client = LocalClient(rig.path)
    for reply, jpeg in ((b'{"status": "ok"}', b"\xff\xd8\njpeg"), (b'{"status": "failed", "error": "no frame"}', b"")):
        thread = threading.Thread(target=carry_out, args=(reply, jpeg))
        thread.start()
        try:
            if jpeg:
                assert client.snapshot(30) == jpeg
            else:
                with pytest.raises(DaemonAway, match="failed: no frame"):
                    client.snapshot(30)
        finally:
            thread.join()


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    """Thousands of large messages, events and results leave only the newest of them."""
    rig = Rig(tmp_path)
    for number in range(1000):
        rig.published.publish(Message("detections", b'"%b"' % (b"x" * 10_000)))
        rig.published.publish(Message(f"zones/{number}", b"{}", retain=True))
        rig.published.on_event(f"7-{number}", b"{}")
        rig.results.on_result(make_result(make_frame(rig.clock), (PERSON,) * 400))
    assert sum(len(kept.payload) for kept in rig.published._newest) <= published.KEPT_BYTES
    assert len(rig.published._newest) <= published.MESSAGES_KEPT
    assert len(rig.published._retained) <= published.RETAINED_MAX
    assert len(rig.published.events()) == published.EVENTS_KEPT
    assert sum(len(kept.result.detections) for kept in rig.results.last()) <= recent_results.DETECTIONS_KEPT
    assert server.CLIENTS <= 64
