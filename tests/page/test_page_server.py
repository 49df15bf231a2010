"""Nobody can hurt the page: heads with two meanings, slow clients, many clients, TLS, and the socket of a proxy."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.support.network.page_server import (
    BASIC,
    LOGIN,
    PASSWORD,
    STATE,
    TWO_MEANINGS,
    ShortPage,
    cheap_password_file,
    connect,
    exchange,
    page_server,
    status_of,
)
from tests.support.network.rude_server import certify
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.errors import ConfigError
from vedette.page.passwords import Password
from vedette.page.server import CONTENT_POLICY, PageServer, tls_of
from vedette.serve.exchange import Reply, Request
from vedette.serve.server import CONNECTIONS

pytestmark = pytest.mark.slow

@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certify(tmp_path_factory.mktemp("tls"))


def test_a_head_with_two_meanings_is_refused() -> None:
    """Each is refused once, as JSON, and says nothing of the machine. The next request is answered."""
    with page_server() as server:
        for case, content in TWO_MEANINGS.items():
            reply = exchange(connect(server.server_port), content)
            assert status_of(reply) >= 400 or not reply.startswith(b"HTTP"), f"{case}: {reply[:200]!r}"
            assert reply.count(b"HTTP/1.1 ") < 2, f"{case}: one request has one reply"
            body = reply.partition(b"\r\n\r\n")[2] or reply
            assert not body or json.loads(body).keys() == {"error"}, case
            assert b"root:" not in reply, case
        assert status_of(exchange(connect(server.server_port), TWO_MEANINGS["a huge head"])) == 431
        for path in (b"/", b"/static/main.js", b"/api/state", b"/nothing", b"/\0"):
            reply = exchange(connect(server.server_port), STATE.replace(b"/api/state", path) + b"\r\n")
            assert all(b"\r\n%b: %b\r\n" % each in reply for each in (
                (b"Content-Security-Policy", CONTENT_POLICY.encode()), (b"X-Content-Type-Options", b"nosniff"),
                (b"Cross-Origin-Resource-Policy", b"same-origin"))), path
        assert status_of(exchange(connect(server.server_port), STATE + b"\r\n" + STATE + b"\r\n")) == 200


def test_a_client_that_drips_is_gone_before_a_request_that_waits(tmp_path: Path) -> None:
    """It has `head_s` for its head and `body_s` for its body, however long a picture may be waited for."""
    begun = (b"", b"G", STATE + b"X: ", LOGIN + b"Content-Length: 4000\r\n\r\n")
    with page_server(ShortPage, password_file=cheap_password_file(tmp_path)) as server, ExitStack() as stack:
        waiting = stack.enter_context(connect(server.server_port))
        waiting.sendall(waiting_for_news(server))
        slow = [stack.enter_context(connect(server.server_port, timeout_s=0.05)) for _ in begun]
        for connection, begin in zip(slow, begun, strict=True):
            connection.sendall(begin)
        assert wait_until(lambda: not [each for each in slow if not is_gone(each)])
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200"), "a client that has asked may wait for longer"


def test_a_page_without_a_daemon_is_not_healthy() -> None:
    """Who watches `healthz` must hear of a machine on which no daemon has started."""
    with page_server() as server:
        reply = exchange(connect(server.server_port), STATE.replace(b"/api/state", b"/healthz") + b"\r\n")
        assert (status_of(reply), reply.partition(b"\r\n\r\n")[2]) == (503, b'{"status":"failed"}')


def waiting_for_news(server: PageServer, wait_s: int = 3) -> bytes:
    """A request that waits, because there is no news."""
    reply = exchange(connect(server.server_port), STATE + BASIC + b"\r\n")
    version = json.loads(reply.partition(b"\r\n\r\n")[2])["version"]
    return STATE.replace(b"state", f"state?after={version}&wait={wait_s}".encode()) + BASIC + b"\r\n"


def is_gone(connection: socket.socket) -> bool:
    """Drip a byte; return whether the server has had enough."""
    try:
        connection.sendall(b"x")
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


class Huge:
    """Answers with more than any buffer holds."""

    refused = 0

    def answer(self, _request: Request) -> Reply:
        return Reply(HTTPStatus.OK, bytes(32 << 20))

    def count_refused(self) -> None:
        self.refused += 1

    def close(self) -> None:
        pass


def test_a_client_that_never_reads_is_dropped() -> None:
    """It holds its reply for `idle_s` at most, and then its place is free."""
    with page_server(ShortPage, Huge()) as server, connect(server.server_port) as connection:
        connection.sendall(STATE + b"\r\n")
        assert connection.recv(1)
        assert wait_until(lambda: not server._clients["127.0.0.1"])


def test_one_client_cannot_take_all_connections() -> None:
    """200 connections: half of all are its own, the others are refused, and another client is answered."""
    with page_server() as server, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(server.server_port))
        assert wait_until(lambda: server._clients["127.0.0.1"] == CONNECTIONS // 2)
        assert status_of(exchange(connect(server.server_port), STATE + b"\r\n")) in (0, 503)
        assert status_of(exchange(connect(server.server_port, "127.0.0.2"), STATE + b"\r\n")) == 200
        stack.close()
        assert wait_until(lambda: status_of(exchange(connect(server.server_port), STATE + b"\r\n")) == 200)


def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Its handshake is on the connection's own thread and within `head_s`. The cookie is for TLS alone."""
    body = json.dumps({"password": PASSWORD}).encode()
    login = LOGIN + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    client = ssl.create_default_context(cafile=str(certificate[0]))
    with page_server(tls={"cert_file": certificate[0], "key_file": certificate[1]},
                     password_file=cheap_password_file(tmp_path)) as server:
        assert server.address.startswith("https://127.0.0.1:")
        plain = connect(server.server_port)
        reply = exchange(client.wrap_socket(connect(server.server_port), server_hostname="127.0.0.1",
                                            suppress_ragged_eofs=True), login)
        assert status_of(reply) == 200
        assert b"; SameSite=Strict; Secure\r\n" in reply
        assert status_of(exchange(plain, STATE + b"\r\n")) == 0, "no plain HTTP beside TLS"
    with page_server(ShortPage, tls={"cert_file": certificate[0], "key_file": certificate[1]}) as server, \
            connect(server.server_port) as silent:
        assert silent.recv(1) == b""


def test_a_bad_certificate_is_named(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The page does not start without TLS instead."""
    (tmp_path / "bad.pem").write_text("no certificate")
    for files in ({"cert_file": tmp_path / "bad.pem"}, {"cert_file": certificate[0]},
                  {"cert_file": certificate[0], "key_file": tmp_path / "missing"}):
        with pytest.raises(ConfigError, match=r"page\.tls: .*cannot be used: .*expected PEM files"), \
                page_server(tls=files):
            raise AssertionError("it serves")
    assert tls_of(None) is None


def test_the_socket_of_a_proxy(tmp_path: Path) -> None:
    """A proxy names the user there. The header counts for nothing on TCP. The socket is the page's alone."""
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))        # a run that was killed has left it

    def ask(headers: bytes) -> tuple[int, str | None]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            reply = exchange(connection, STATE + headers + b"\r\n")
        return status_of(reply), json.loads(reply.partition(b"\r\n\r\n")[2]).get("login")

    with page_server(proxy_socket=path, password_file=cheap_password_file(tmp_path)) as server:
        assert path.stat().st_mode & 0o777 == 0o660
        assert ask(b"Remote-User: ann\r\n") == (200, "ann")
        assert ask(b"") == (401, None)
        assert ask(b"Remote-User: ann\r\nRemote-User: bob\r\n") == (200, "ann, bob"), "one name, which nobody has"
        assert status_of(exchange(connect(server.server_port), STATE + b"Remote-User: ann\r\n\r\n")) == 401
    assert not path.exists()


def test_the_end_waits_for_no_browser() -> None:
    """A request that waits for a picture does not hold up the stop."""
    with page_server() as server:
        waiting = connect(server.server_port)
        waiting.sendall(waiting_for_news(server, 25))
        assert wait_until(lambda: len(server._clients) == 1)
        waiting.setblocking(False)
    with waiting, pytest.raises(BlockingIOError):
        waiting.recv(1)     # the server has ended before its answer


def page(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([sys.executable, "-m", "vedette", "page", *map(str, arguments)], input=stdin, text=True,
                          capture_output=True, timeout=2 * PATIENCE_S, check=False)


def test_the_command_writes_the_file_of_a_password(tmp_path: Path) -> None:
    """It reads the password from a pipe too. Without such a file no address beyond loopback is served."""
    path = tmp_path / "password"
    done = page("--set-password", path, stdin=f"{PASSWORD}\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert Password(path).verify(PASSWORD.encode())
    done = page("--listen", "0.0.0.0:0")
    assert done.returncode == 78
    assert done.stderr.startswith("vedette: page.listen: 0.0.0.0: an address beyond loopback needs page.password_file")
