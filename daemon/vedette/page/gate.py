"""Who may use the page: every request passes here before anything of the daemons is asked.

Invariants:
- A request must name this machine in its Host header, against DNS rebinding: a foreign name may point here.
- A request that changes something has JSON as its type, and must come from the page itself, against other sites in
  the same browser (CSRF). A script that is no browser sends no Origin, and may ask.
- On loopback without a password file nobody logs in. On any other address there is a password file. Everything but
  OPEN and the static files then needs a session, the password by HTTP Basic, or a proxy on its unix socket.
- `Remote-User` counts for connections of the proxy's unix socket alone.
- A session is a random number of 256 bits, of which only the digest is kept, in memory alone. There are at most
  SESSIONS, and each ends after SESSION_DAYS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import json
import logging
import re
import secrets
import socket
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vedette.config.addresses import is_loopback
from vedette.errors import ConfigError
from vedette.page.passwords import Password
from vedette.page.tries import Tries
from vedette.serve.exchange import Refusal, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.config.page import PageConfig

log = logging.getLogger(__name__)

OPEN = frozenset(("/", "/index.html", "/login.html", "/healthz", "/api/login"))
"""Paths that need no login: they say nothing of the daemons."""
STATIC = "/static/"
COOKIE = "vedette"
OWNER = "owner"
"""The login name of whoever knows the password."""
SESSIONS, SESSION_DAYS = 100, 14
_SESSION_S = SESSION_DAYS * 86400
_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@,\[\]]+))(?::\d{1,5})?")
_SESSION = re.compile(rf"(?:^|;)\s*{COOKIE}=([A-Za-z0-9_-]+)")
_LOGIN_BYTES = 4096
_LONGEST_NAME = 100
_NOT_LOGGED_IN = "log in first"


class Gate:
    """Checks requests, on any thread. Raises: ConfigError if the page may not be served like this."""

    def __init__(self, config: PageConfig, listen_host: str, *, under_tls: bool,
                 now: Callable[[], float] = time.monotonic) -> None:
        if config.password_file is None and not is_loopback(listen_host):
            message = (f"page.listen: {listen_host}: an address beyond loopback needs page.password_file; "
                       "`vedette page --set-password FILE` writes it")
            raise ConfigError((message,))
        self._names = {*config.hosts, "localhost", *(() if is_loopback(listen_host) else _own_names(listen_host))}
        self._takes_addresses = not is_loopback(listen_host)
        self._password = Password(config.password_file) if config.password_file else None
        self._under_tls = under_tls
        self._now = now
        self._tries = Tries(now)
        self._lock = threading.Lock()
        self._sessions: dict[bytes, float] = {}
        """When each session ends, by the digest of its cookie. The oldest is the first."""

    def __repr__(self) -> str:
        login = "password" if self._password else "open"
        return f"<Gate {login} sessions={len(self._sessions)}>"

    def check(self, request: Request, *, route: str) -> str | None:
        """Return the login name, or None where none is needed. `route`: the path that is asked for.

        Raises: Refusal.
        """
        if not _PATH.fullmatch(request.path.partition("?")[0]) or ".." in request.path.partition("?")[0]:
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected a path of letters, digits and .-_/")
        self._check_host(request)
        self._check_site(request)
        if route in OPEN or route.startswith(STATIC):
            return None
        return self._login_name(request)

    def log_in(self, request: Request) -> Reply:
        """Begin a session if the body has the password: {"password": "…"}. Raises: Refusal; OSError."""
        if self._password is None:
            return Reply(HTTPStatus.OK, b"{}")
        self._verify(_password_of(request), request)
        token = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._sessions) >= SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(token)] = self._now() + _SESSION_S
        return Reply(HTTPStatus.OK, b"{}", headers={"Set-Cookie": self._cookie(request, token, _SESSION_S)})

    def log_out(self, request: Request) -> Reply:
        """End the session of this browser."""
        with self._lock:
            self._sessions.pop(_digest(_token_of(request)), None)
        return Reply(HTTPStatus.OK, b"{}", headers={"Set-Cookie": self._cookie(request, "", 0)})

    def _check_host(self, request: Request) -> None:
        """Refuse a name that is not ours. The proxy on its socket answers for its own names."""
        found = _HOST.fullmatch(request.headers.get("host", ""))
        if found is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected one Host header with a name or an address")
        if request.via_proxy:
            return
        name = (found[1] or found[2]).lower().removesuffix(".")
        if name not in self._names and not self._is_own_address(name):
            raise Refusal(HTTPStatus.FORBIDDEN, "this page has another name; page.hosts lists more names of it")

    def _is_own_address(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._takes_addresses or address.is_loopback

    def _check_site(self, request: Request) -> None:
        """Refuse what another site makes the browser do. To follow a link to the page is allowed."""
        headers = request.headers
        reads = request.method in ("GET", "HEAD")
        site = headers.get("sec-fetch-site", "")
        if site:
            is_ours = site in ("same-origin", "none") or (reads and headers.get("sec-fetch-mode") == "navigate")
        else:       # a browser leaves it out on plain HTTP; it sends the Origin with all that is no GET
            origin = headers.get("origin")
            is_ours = reads or origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()
        if not is_ours:
            raise Refusal(HTTPStatus.FORBIDDEN, "the request comes from another site")
        if not reads and request.kind != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")

    def _login_name(self, request: Request) -> str | None:
        if request.via_proxy and (name := request.headers.get("remote-user", "")):
            if not name.isprintable() or len(name) > _LONGEST_NAME:
                raise Refusal(HTTPStatus.BAD_REQUEST, "expected a Remote-User that can be shown")
            return name
        if self._has_session(request):
            return OWNER
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if self._password is not None and scheme.lower() == "basic":
            self._verify(_basic(value), request)
            return OWNER
        if self._password is not None or request.via_proxy:
            raise _unknown(_NOT_LOGGED_IN)
        return None

    def _has_session(self, request: Request) -> bool:
        token = _token_of(request)
        if not token:
            return False
        digest = _digest(token)
        with self._lock:
            if self._sessions.get(digest, float("-inf")) > self._now():
                return True
            self._sessions.pop(digest, None)
        return False

    def _verify(self, password: bytes, request: Request) -> None:
        """Raises: Refusal, unless this is the password."""
        assert self._password is not None  # noqa: S101 - for the type checker: the callers have looked
        address = "the proxy" if request.via_proxy else request.address
        wait_s = self._tries.take(address)
        if wait_s:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"too many tries; wait {wait_s} s", Retry_After=str(wait_s))
        if not self._password.verify(password):
            log.info("a wrong password from %s", address)
            raise _unknown("the password is wrong")
        self._tries.give_back(address)

    def _cookie(self, request: Request, token: str, age_s: int) -> str:
        is_secure = self._under_tls or request.headers.get("x-forwarded-proto", "").lower() == "https"
        return (f"{COOKIE}={token}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict"
                f"{'; Secure' if is_secure else ''}")


def _own_names(listen_host: str) -> set[str]:
    """Return the names under which this machine is known in its network."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {listen_host.lower(), name, short, f"{short}.local"}


def _password_of(request: Request) -> bytes:
    """Return the password in the body. Raises: Refusal; OSError."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= _LOGIN_BYTES):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"expected a body of at most {_LOGIN_BYTES} bytes and its Content-Length")
    try:
        content = json.loads(request.read(int(length)))
    except (ValueError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected a JSON object") from error
    password = content.get("password") if isinstance(content, dict) else None
    if not isinstance(password, str):
        raise Refusal(HTTPStatus.BAD_REQUEST, 'expected {"password": "…"}')
    return password.encode("utf-8", "replace")


def _basic(value: str) -> bytes:
    """Return the password of HTTP Basic; the user name may be any. Raises: Refusal."""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except binascii.Error as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected the base64 of user:password") from error


def _token_of(request: Request) -> str:
    """Return the session of the cookie, or ""."""
    found = _SESSION.search(request.headers.get("cookie", ""))
    return found[1] if found else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _unknown(message: str) -> Refusal:
    """Return the refusal. It does not ask for Basic: the browser would open a dialog in place of our page."""
    return Refusal(HTTPStatus.UNAUTHORIZED, message, WWW_Authenticate='Form realm="vedette"')
