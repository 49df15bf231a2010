"""Who may use the page: names, sites, passwords, sessions, and how often somebody may try."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.support.network.page_server import PASSWORD, cheap_password_file
from vedette.config.page import PageConfig
from vedette.errors import ConfigError, UsageError
from vedette.page.gate import OPEN, OWNER, SESSION_DAYS, SESSIONS, Gate
from vedette.page.passwords import SHORTEST, Password, write_password
from vedette.page.tries import ADDRESSES, BURST, BURST_ALL, PERIOD_S, Tries
from vedette.serve.exchange import Refusal, Request

JSON: dict[str, Any] = {"content-type": "application/json"}


class Clock:
    """A clock that only a test moves."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def asked(method: str = "GET", path: str = "/api/state", *, address: str = "192.168.1.20", body: bytes = b"",
          via_proxy: bool = False, **headers: str) -> Request:
    """A request that is in order, unless the arguments say otherwise. `_` in the name of a header stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {"content-length": str(len(body))} if body else {}
    return Request(method, path, {"host": "192.168.1.7:8780", **named}, address, io.BytesIO(body).read, Clock(),
                   via_proxy)


def status_of(gate: Gate, request: Request, route: str = "/api/state") -> int:
    """The status of the refusal, or 200."""
    return refusal(lambda: gate.check(request, route=route))


def refusal(call: Callable[[], object]) -> int:
    try:
        call()
    except Refusal as problem:
        return int(problem.reply().status)
    return 200


def log_in(gate: Gate, password: str = PASSWORD) -> str:
    """Log in and return the cookie as a browser sends it back. Raises: Refusal."""
    body = json.dumps({"password": password}).encode()
    reply = gate.log_in(asked("POST", "/api/login", body=body, **JSON))
    assert reply.status == HTTPStatus.OK
    return reply.headers["Set-Cookie"].partition(";")[0]


def basic(password: str, user: str = "") -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture(scope="module")
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cheap_password_file(tmp_path_factory.mktemp("page"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(password_file: Path, clock: Clock) -> Gate:
    """The gate of a page that the network can reach."""
    config = PageConfig(password_file=password_file, hosts=("cam.example.org",))
    return Gate(config, "0.0.0.0", under_tls=False, now=clock)  # noqa: S104 - nothing listens here


@pytest.fixture
def local() -> Gate:
    """The gate of a page on loopback without a password."""
    return Gate(PageConfig(hosts=("cam.example.org",)), "127.0.0.1", under_tls=False, now=Clock())


def test_loopback_without_a_password_needs_no_login(local: Gate) -> None:
    """Everyone on this machine may ask, and there is no login name."""
    assert local.check(asked(host="127.0.0.1:8780"), route="/api/state") is None
    assert local.log_in(asked("POST", "/api/login", **JSON)).status == HTTPStatus.OK


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "cam.local"])  # noqa: S104 - nothing listens here
def test_another_address_needs_a_password_file(host: str) -> None:
    """The message says how to make one."""
    with pytest.raises(ConfigError, match=r"page\.listen: .* needs page\.password_file; `vedette page --set-password"):
        Gate(PageConfig(), host, under_tls=False, now=Clock())


@pytest.mark.parametrize(("host", "on_loopback", "in_network"), [
    ("127.0.0.1:8780", 200, 200), ("localhost", 200, 200), ("LOCALHOST.:80", 200, 200), ("[::1]:8780", 200, 200),
    ("cam.example.org", 200, 200), ("Cam.Example.Org:443", 200, 200),
    (f"{socket.gethostname()}:8780", 403, 200), (f"{socket.gethostname().partition('.')[0]}.local", 403, 200),
    ("192.168.1.7", 403, 200), ("[fe80::1]", 403, 200), ("evil.example", 403, 403), ("evil.example:8780", 403, 403),
    ("127.0.0.1.evil.example", 403, 403), ("localhost.evil.example", 403, 403), ("2130706433", 403, 403),
    ("", 400, 400), ("localhost, evil.example", 400, 400), ("evil.example@localhost", 400, 400),
    ("[::1", 400, 400), ("local host", 400, 400), ("localhost:x", 400, 400), ("localhost/x", 400, 400),
    ("http://localhost", 400, 400), ("localhost\t", 400, 400)])
def test_a_page_answers_under_its_own_names_alone(local: Gate, gate: Gate, host: str, on_loopback: int,
                                                  in_network: int) -> None:
    """DNS rebinding: a site has the browser ask this machine under the site's own name."""
    for route in ("/api/state", "/healthz"):
        assert status_of(local, asked(host=host), route) == on_loopback
    assert status_of(gate, asked(host=host), "/healthz") == in_network


@pytest.mark.parametrize(("headers", "status"), [
    (JSON, 200), ({**JSON, "origin": "http://192.168.1.7:8780"}, 200), ({**JSON, "sec_fetch_site": "same-origin"}, 200),
    ({"content-type": "application/json; charset=utf-8"}, 200),
    ({**JSON, "origin": "http://evil.example"}, 403), ({**JSON, "origin": "null"}, 403), ({**JSON, "origin": ""}, 403),
    ({**JSON, "origin": "http://192.168.1.7:8781"}, 403), ({**JSON, "origin": "http://192.168.1.7"}, 403),
    ({**JSON, "sec_fetch_site": "cross-site"}, 403), ({**JSON, "sec_fetch_site": "same-site"}, 403),
    ({**JSON, "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 403),
    ({**JSON, "sec_fetch_site": "cross-site", "origin": "http://192.168.1.7:8780"}, 403),
    ({}, 415), ({"content-type": "text/plain"}, 415), ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ({"content-type": "multipart/form-data; boundary=application/json"}, 415)])
def test_another_site_cannot_change_anything(gate: Gate, headers: dict[str, Any], status: int) -> None:
    """CSRF: the browser of somebody who is logged in sends what another site has it send."""
    cookie = log_in(gate)
    assert status_of(gate, asked("POST", "/api/commands/pause", cookie=cookie, **headers)) == status


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 200), ({"sec_fetch_site": "same-origin"}, 200), ({"sec_fetch_site": "none"}, 200),
    ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
    ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
    ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, 403)])
def test_another_site_shows_no_picture_of_ours(local: Gate, headers: dict[str, Any], status: int) -> None:
    """It may link to the page."""
    assert status_of(local, asked(host="localhost", **headers)) == status


@pytest.mark.parametrize("path", [
    "http://localhost/api/state", "/localhost/..", "/static/../../etc/passwd", "/static/..%2f..%2fx",
    "/static/%2e%2e/x", "/api%2fstate", "/api/state\0", "/api/state%00", "/static/a\\b", "/static/é", "*", "", "api",
    "/api/state;x", "/api/ state", "/~root"])
def test_paths_that_are_not_plain_are_refused(local: Gate, path: str) -> None:
    """What nobody decodes needs no care later."""
    assert status_of(local, asked(path=path, host="localhost"), "/static/") == 400
    assert status_of(local, asked(path="/api/state?x=%2f..%00", host="localhost")) == 200


def test_without_a_login_only_what_says_nothing(gate: Gate) -> None:
    """These paths are open; all others are not."""
    assert [status_of(gate, asked(path=path), path) for path in (*OPEN, "/static/main.js")] == [200] * (len(OPEN) + 1)
    for path in ("/api/state", "/frame.jpg", "/metrics", "/api/logout", "/static", "/anything"):
        assert status_of(gate, asked(path=path), path) == 401
    with pytest.raises(Refusal) as caught:
        gate.check(asked(), route="/api/state")
    assert not caught.value.reply().headers["WWW-Authenticate"].startswith("Basic"), "a browser would open a dialog"


def test_a_session(gate: Gate, clock: Clock) -> None:
    """The cookie is random, is out of reach of scripts and other sites, and ends after some days."""
    body = json.dumps({"password": PASSWORD}).encode()
    reply = gate.log_in(asked("POST", "/api/login", body=body, **JSON))
    found = re.fullmatch(rf"vedette=([\w-]{{43}}); Path=/; Max-Age={SESSION_DAYS * 86400}; HttpOnly; SameSite=Strict",
                         reply.headers["Set-Cookie"])
    assert found, "43 characters of base64 are 256 bits"
    cookie = f"vedette={found[1]}"
    assert log_in(gate) != cookie
    assert gate.check(asked(cookie=f'a="{{1:2}}"; {cookie}; b=[]'), route="/api/state") == OWNER
    for wrong in ("", "vedette=", f"{cookie}x", cookie[:-1], f"x{cookie}", cookie.upper()):
        assert status_of(gate, asked(cookie=wrong)) == 401
    clock.now_s += SESSION_DAYS * 86400 - 1
    assert status_of(gate, asked(cookie=cookie)) == 200
    clock.now_s += 2
    assert status_of(gate, asked(cookie=cookie)) == 401


def test_a_session_ends_with_the_logout(gate: Gate) -> None:
    """That of another browser stays."""
    mine, other = log_in(gate), log_in(gate)
    reply = gate.log_out(asked("POST", "/api/logout", cookie=mine, **JSON))
    assert reply.headers["Set-Cookie"].startswith("vedette=; Path=/; Max-Age=0; ")
    assert [status_of(gate, asked(cookie=each)) for each in (mine, other)] == [401, 200]


def test_sessions_are_bounded(gate: Gate) -> None:
    """A new one replaces the oldest."""
    cookies = [log_in(gate) for _ in range(SESSIONS + 1)]
    assert [status_of(gate, asked(cookie=each)) for each in (*cookies[:2], cookies[-1])] == [401, 200, 200]


@pytest.mark.parametrize(("under_tls", "headers"), [(True, {}), (False, {"x_forwarded_proto": "https"})])
def test_under_tls_the_cookie_needs_tls(password_file: Path, under_tls: bool, headers: dict[str, Any]) -> None:
    """Also where a proxy has done the TLS."""
    gate = Gate(PageConfig(password_file=password_file), "::1", under_tls=under_tls, now=Clock())
    body = json.dumps({"password": PASSWORD}).encode()
    assert gate.log_in(asked("POST", body=body, **JSON, **headers)).headers["Set-Cookie"].endswith("; Secure")


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"password": 5}', b'{"password": null}', b"[" * 4000,
                                  b'{"password": "' + b"x" * 5000 + b'"}', b"\xff\xfe"])
def test_a_login_without_a_password(gate: Gate, body: bytes) -> None:
    """It is refused, and is no try."""
    for _ in range(BURST + 1):
        assert refusal(lambda: gate.log_in(asked("POST", body=body, **JSON))) == 400


def test_a_script_sends_the_password_each_time(gate: Gate) -> None:
    """HTTP Basic with any user name. Only the first request computes the hash."""
    for user in ("", "prometheus"):
        assert gate.check(asked(authorization=basic(PASSWORD, user)), route="/metrics") == OWNER
    assert status_of(gate, asked(authorization=basic("wrong"))) == 401
    assert status_of(gate, asked(authorization="Basic ?")) == 400
    assert status_of(gate, asked(authorization="Bearer x")) == 401


def test_a_known_password_costs_no_hash(password_file: Path) -> None:
    """Nor does a wrong one, once the right one is known."""
    password = Password(password_file)
    assert [password.verify(each) for each in (b"wrong", PASSWORD.encode(), b"wrong")] == [False, True, False]
    password._hash = NoHash()  # type: ignore[assignment]
    assert [password.verify(each) for each in (PASSWORD.encode(), b"wrong", b"")] == [True, False, False]


class NoHash:
    """Fails the test if a hash is computed."""

    def of(self, _password: bytes) -> bytes:
        raise AssertionError("a hash was computed")


def test_remote_user_counts_on_the_socket_of_the_proxy_alone(gate: Gate) -> None:
    """On TCP anybody can send this header."""
    assert gate.check(asked(via_proxy=True, remote_user="ann"), route="/api/state") == "ann"
    assert gate.check(asked(via_proxy=True, remote_user="ann", host="any.example"), route="/api/state") == "ann"
    assert status_of(gate, asked(remote_user="ann")) == 401
    assert status_of(gate, asked(via_proxy=True)) == 401
    assert status_of(gate, asked(via_proxy=True, remote_user="ann\r\n bob")) == 400
    assert status_of(gate, asked(via_proxy=True, remote_user="a" * 101)) == 400


def test_a_proxy_must_name_the_user_even_where_tcp_needs_no_login(local: Gate) -> None:
    """A proxy that forgets it must not open the page to the internet."""
    assert status_of(local, asked(via_proxy=True)) == 401
    assert local.check(asked(via_proxy=True, remote_user="ann"), route="/api/state") == "ann"


def test_tries_of_one_address_are_limited(gate: Gate, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """1,000 tries: a few are checked, and logged. A little later the owner gets in, from the same address."""
    caplog.set_level("INFO")
    statuses = [refusal(lambda: log_in(gate, "wrong")) for _ in range(500)]
    statuses += [status_of(gate, asked(authorization=basic("wrong"))) for _ in range(500)]
    assert statuses == [401] * BURST + [429] * (1000 - BURST)
    assert [record.getMessage() for record in caplog.records] == ["a wrong password from 192.168.1.20"] * BURST
    assert refusal(lambda: log_in(gate)) == 429, "else the answer would say which try was right"
    clock.now_s += PERIOD_S
    cookie = log_in(gate)
    assert status_of(gate, asked(cookie=cookie)) == 200


def test_the_limit_says_when_to_come_again(gate: Gate) -> None:
    """In whole seconds."""
    for _ in range(BURST):
        refusal(lambda: log_in(gate, "wrong"))
    with pytest.raises(Refusal, match="too many tries; wait 20 s") as caught:
        log_in(gate)
    assert caught.value.reply().headers["Retry-After"] == "20"


def test_many_addresses_together_are_limited() -> None:
    """Whoever has been here with the right password, and loopback, are not among them."""
    tries = Tries(Clock())
    assert tries.take("192.168.1.2") == 0
    tries.give_back("192.168.1.2")
    waits = [tries.take(f"10.0.{n // 250}.{n % 250}") for n in range(1000)]
    assert waits.count(0) == BURST_ALL
    assert tries.take("192.168.1.3") > 0
    assert [tries.take(each) for each in ("192.168.1.2", "127.0.0.1", "::1")] == [0, 0, 0]
    assert len(tries._buckets) <= ADDRESSES


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    """One machine has 2^64 addresses. An IPv4 address may be written as IPv6."""
    tries = Tries(Clock())
    assert [tries.take(f"2001:db8:1:2::{n:x}") == 0 for n in range(BURST + 1)] == [True] * BURST + [False]
    assert tries.take("2001:db8:1:3::1") == 0
    assert [tries.take(f"{prefix}10.1.1.1") == 0 for prefix in ("", "::ffff:") * 3] == [True] * BURST + [False]


def test_the_file_of_a_password(tmp_path: Path) -> None:
    """Its owner alone can read it, and no password is in it. Each has a salt of its own."""
    for name in ("a", "b"):
        write_password(tmp_path / name, PASSWORD)
    first, second = ((tmp_path / name).read_text() for name in ("a", "b"))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"\$scrypt\$ln=14,r=8,p=5\$[\w+/]{22}\$[\w+/]{43}\n", first)
    assert first != second
    assert [Password(tmp_path / "a").verify(each) for each in (PASSWORD.encode(), b"wrong")] == [True, False]
    for password in ("x" * (SHORTEST - 1), "x" * 1025):
        with pytest.raises(UsageError, match="expected a password of at least"):
            write_password(tmp_path / "a", password)
    assert (tmp_path / "a").read_text() == first


@pytest.mark.parametrize("text", [
    "hunter2hunter2\n", "", "\n", "$scrypt$ln=14,r=8,p=5$x$y", "$scrypt$ln=24,r=8,p=1$" + "A" * 22 + "$" + "A" * 43,
    "$scrypt$ln=0,r=8,p=1$" + "A" * 22 + "$" + "A" * 43, "$scrypt$ln=14,r=8,p=99$" + "A" * 22 + "$" + "A" * 43,
    "$scrypt$ln=14,r=8,p=1$" + "A" * 21 + "$" + "A" * 43, "$2b$12$abcdefghijklmnopqrstuv", "ünicode"])
def test_a_file_that_is_no_hash_is_refused(tmp_path: Path, text: str) -> None:
    """A plain password is refused, not used, and not repeated. So is a hash that costs too much."""
    path = tmp_path / "password"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="expected the line that `vedette page --set-password") as caught:
        Password(path)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says what to do."""
    path = tmp_path / "password"
    path.write_text("hunter2hunter2")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="everyone on this machine can read or write it; chmod o= "):
        Password(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(ConfigError, match="missing: cannot be read: No such file"):
        Password(tmp_path / "missing")
