"""The one HTTP client: a request and its answer within a total deadline, however the server behaves.

Invariants: looking up the name, connecting, TLS, headers and body share one deadline; a body is bounded; redirects are
not followed; what socket, ssl and http.client raise becomes an HttpError that names the address, without its query. No
message has what was sent as `Authorization`, though the server repeat it.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

from vedette import __version__
from vedette.errors import HttpStatus, HttpTooLong, HttpTooSlow, HttpUnreachable
from vedette.net.timed_socket import CHUNK_BYTES, Deadline, Resolve, TimedSocket
from vedette.net.urls import without_login

RETRY_AFTER_MOST_S = 3600.0
_PORTS = {"http": 80, "https": 443}


class Answer:
    """A server's answer with a status of success. Its body is read by `chunks`, once."""

    def __init__(self, shown: str, response: http.client.HTTPResponse, most_bytes: int) -> None:
        self._shown = shown
        self._response = response
        self._most_bytes = most_bytes
        self.status = response.status
        self.length: int | None = response.length
        """Bytes of the body as the server declares them, or None."""
        if self.length is not None and self.length > most_bytes:
            raise HttpTooLong(f"{shown}: declares {self.length} bytes, expected {most_bytes} at most")

    def header(self, name: str) -> str:
        """Return a header's value, "" where there is none."""
        return self._response.getheader(name) or ""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises: HttpError, also when it ends early."""
        got = 0
        while chunk := self._read():
            got += len(chunk)
            if got > self._most_bytes:
                raise HttpTooLong(f"{self._shown}: sends more than the {self._most_bytes} bytes expected at most")
            yield chunk
        if self.length is not None and got < self.length:
            raise HttpUnreachable(f"{self._shown}: ended after {got} of {self.length} bytes")

    def _read(self) -> bytes:
        with _mapped(self._shown):
            return self._response.read1(CHUNK_BYTES)


class HttpClient:
    """Asks over http and https, one connection for each request. Any thread, one request at a time each.

    `ca_file` (PEM) takes the place of the system's certificates; `idle_s` bounds the time without a single byte.
    """

    def __init__(self, *, ca_file: Path | None = None, idle_s: float = 30.0,
                 resolve: Resolve = socket.getaddrinfo) -> None:
        self._ca_file = ca_file
        self._idle_s = idle_s
        self._resolve = resolve

    @contextmanager
    def request(self, url: str, *, deadline: Deadline, most_bytes: int, method: str = "GET",
                headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Iterator[Answer]:
        """Ask, and give the answer with its headers read and its body (`most_bytes` at most) yet to come.

        Raises: HttpStatus for every status but a success, redirects included; HttpUnreachable, HttpTooSlow,
        HttpTooLong.
        """
        parts = _split(url)
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        secret = (headers or {}).get("Authorization", "").rpartition(" ")[2]
        with _mapped(shown):
            connection = TimedSocket.connect(
                parts.hostname or "", parts.port or _PORTS[parts.scheme], deadline=deadline, idle_s=self._idle_s,
                tls=self._tls if parts.scheme == "https" else None, resolve=self._resolve)
        try:
            with _mapped(shown, secret):
                response = _ask(connection, parts, method, headers or {}, body)
            if connection.ended:                # http.client takes that for the end of the headers
                raise HttpUnreachable(f"{shown}: ended within its headers")
            _check_status(shown, response, secret)
            yield Answer(shown, response, most_bytes)
        finally:
            connection.hang_up()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as failure:
            raise OSError(f"the certificates in {self._ca_file} cannot be used: {failure}") from failure


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in _PORTS and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")       # what is no name here would leave a socket open in the ssl module
    except ValueError as failure:
        raise HttpUnreachable(f"{url.rpartition('@')[2].partition('?')[0]}: no address: {failure}") from failure
    if parts.username is not None or parts.password is not None:
        raise HttpUnreachable(f"{parts.scheme}://…@{parts.hostname}: a password in an address is shown everywhere")
    if not sound:
        raise HttpUnreachable(f"{url.partition('?')[0]}: expected http://… or https://…")
    return parts


def _ask(connection: TimedSocket, parts: SplitResult, method: str, headers: Mapping[str, str],
         body: bytes | None) -> http.client.HTTPResponse:
    asking = http.client.HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    asking.sock = connection
    with suppress(ConnectionError):     # whoever hangs up on a body may have refused it by its head
        asking.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, {
            "Host": parts.netloc, "User-Agent": f"vedette/{__version__}", "Accept-Encoding": "identity",
            "Connection": "close", **headers})
    return _final(asking.getresponse(), connection)


def _final(response: http.client.HTTPResponse, connection: TimedSocket) -> http.client.HTTPResponse:
    """Read on after interim answers: http.client skips 100 only."""
    while 100 <= response.status < 200 and response.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
        after = http.client.HTTPResponse(connection)  # type: ignore[arg-type]  # it has what http.client uses
        after.fp, response.fp = response.fp, after.fp       # the one that may have read ahead; it closes its own
        after.begin()
        response = after
    return response


def _check_status(shown: str, response: http.client.HTTPResponse, secret: str) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    said = f"{status} {_plain(response.reason, secret)}".strip()
    if 300 <= status < 400:
        place = re.split("[?#]", without_login(response.getheader("Location") or "nowhere"))[0]
        said += f", elsewhere: {_plain(place, secret)}; redirects are not followed"
    raise HttpStatus(f"{shown}: answered {said}", status, _retry_after_s(response))


def _plain(words: str, secret: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", _without(secret, words))[:200]


def _without(secret: str, words: str) -> str:
    for written in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)} - {""}:
        words = words.replace(written, "***")
    return words


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    """Return the seconds asked for (a number, or a date), from 0 to an hour; None when nothing sensible is asked.

    A date counts from the server's own, since our clock may be years off.
    """
    value = response.getheader("Retry-After") or ""
    if re.fullmatch(r"\d+", value):
        return min(float(value.lstrip("0")[:9] or 0), RETRY_AFTER_MOST_S)
    moment, now = _moment(value), _moment(response.getheader("Date") or "") or datetime.now(UTC)
    return None if moment is None else min(max(0.0, (moment - now).total_seconds()), RETRY_AFTER_MOST_S)


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):     # the latter of a year, or a zone, of many digits
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _mapped(shown: str, secret: str = "") -> Iterator[None]:
    """Give every failure of the layers below its name and the address."""
    try:
        yield
    except TimeoutError as failure:
        raise HttpTooSlow(f"{shown}: no answer in time: {failure}") from failure
    except ssl.SSLCertVerificationError as failure:
        raise HttpUnreachable(f"{shown}: its certificate is not trusted: {failure.verify_message}") from failure
    except (OSError, http.client.HTTPException, ValueError) as failure:
        words = _without(secret, str(failure)) or "the connection ended"
        raise HttpUnreachable(f"{shown}: no usable answer: {words}") from failure
