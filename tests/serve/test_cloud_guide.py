"""nginx as in docs/cloud.md, in front of real workers that are busy, die and restart."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from tests.support.network import nginx
from tests.support.network.detection_server import TOKEN, command, lamp_picture, model
from tests.support.network.ports import free_port, listens
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.skipif(nginx.PROGRAM is None, reason="nginx is not installed")
MOST_BYTES = 8_000_000


class Workers:
    """Two workers behind nginx. Each holds one image at a time."""

    def __init__(self, folder: Path, url: str, authority: Path, ports: list[int]) -> None:
        self._address = url.removeprefix("https://")
        self._tls = ssl.create_default_context(cafile=authority)
        (folder / "tokens").write_text(TOKEN)
        self._commands = [command("--model", model(folder), "--port", str(port), "--token-file", str(folder / "tokens"),
                                  "--threads", "1", "--concurrency", "1") for port in ports]
        self._ports = ports
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._processes = [subprocess.Popen(each, stderr=subprocess.DEVNULL) for each in self._commands]
        assert wait_until(lambda: all(map(listens, self._ports)))

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait(20)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(20)

    def post(self, body: bytes, path: str = "/v1/detect", token: str = TOKEN) -> tuple[int, str | None, bytes]:
        """Send one request. Return status, Retry-After and body."""
        connection = HTTPSConnection(self._address, context=self._tls, timeout=240)
        try:
            connection.request("POST", path, body, {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"})
            reply = connection.getresponse()
            return reply.status, reply.getheader("Retry-After"), reply.read()
        finally:
            connection.close()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Keep both workers busy with an image that never arrives."""
        with ExitStack() as held:
            for port in self._ports:
                slow = held.enter_context(socket.create_connection(("127.0.0.1", port)))
                slow.sendall(f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                             "Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n".encode())
                assert wait_until(partial(self._is_busy, port))
            yield
        assert wait_until(lambda: not any(map(self._is_busy, self._ports)))

    def _is_busy(self, port: int) -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=240)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            return b"vedette_serve_busy 1" in connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def workers_behind_nginx(folder: Path) -> Iterator[Workers]:
    ports = [free_port(), free_port()]
    text = re.sub(r" *server 127.0.0.1:880[3-9].*\n", "", nginx.block("cloud.md"))
    for number, port in enumerate(ports, 1):
        text = text.replace(f"127.0.0.1:880{number} ", f"127.0.0.1:{port} ")
    with nginx.nginx(folder / "nginx", text) as (url, authority):
        workers = Workers(folder, url, authority, ports)
        try:
            workers.start()
            yield workers
        finally:
            workers.end()


@pytest.mark.daemon
def test_nginx_in_front_of_two_workers(tmp_path: Path) -> None:
    """Answers and refusals pass through. A worker that is full, dies or restarts affects no other request."""
    picture = lamp_picture()
    with workers_behind_nginx(tmp_path) as workers:
        assert b'"lamp"' in workers.post(picture)[2]
        assert workers.post(picture, token=TOKEN + "x")[0] == 401
        assert workers.post(b"x" * (MOST_BYTES - 1))[0] == 422
        assert workers.post(b"x" * (MOST_BYTES + 1))[0] == 413
        assert workers.post(b"x" * (MOST_BYTES + 1_000_000))[0] == 413
        assert workers.post(b"", "/metrics")[0] == workers.post(b"", "/v1/../metrics")[0] == 404
        with workers.full():
            assert [workers.post(picture)[:2] for _ in range(3)] == [(503, "1")] * 3
        assert {workers.post(picture)[0] for _ in range(6)} == {200}
        workers.kill(0)
        assert {workers.post(picture)[0] for _ in range(6)} == {200}
        workers.kill(1)
        assert workers.post(picture)[0] == 502
        workers.start()
        assert {workers.post(picture)[0] for _ in range(6)} == {200}
    assert "temporary file" not in (tmp_path / "nginx" / "error.log").read_text()
