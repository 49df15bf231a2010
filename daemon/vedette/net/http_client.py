"""The one HTTP client: a request and its response within one deadline, however the server behaves.

Invariants: name lookup, connecting, TLS, headers and body share one deadline; a body is bounded; redirects are not
followed; errors of socket, ssl and http.client become an HttpError that names the address, without its query. No
message contains what was sent as `Authorization`, even if the server repeats it.
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
from vedette.errors import HttpHungUp, HttpStatus, HttpTooLong, HttpTooSlow, HttpUnreachable
from vedette.net import urls
from vedette.net.timed_socket import CHUNK_BYTES, Deadline, Resolve, TimedSocket

RETRY_AFTER_MOST_S = 3600.0
IDLE_S = 30.0
_HUNG_UP = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, http.client.IncompleteRead, ssl.SSLEOFError,
            ssl.SSLZeroReturnError)
_PORTS = {"http": 80, "https": 443}


class HttpResponse:
    """A response with a status of success. `chunks` reads its body, once."""

    def __init__(self, shown: str, response: http.client.HTTPResponse, most_bytes: int) -> None:
        self._shown = shown
        self._response = response
        self._most_bytes = most_bytes
        self.status = response.status
        self.length: int | None = response.length
        """The bytes of the body that the server declares, or None."""
        if self.length is not None and self.length > most_bytes:
            raise HttpTooLong(f"{shown}: the server declares {self.length} bytes; expected at most {most_bytes}")

    def header(self, name: str) -> str:
        """Return a header's value, "" if there is none."""
        return self._response.getheader(name) or ""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises: HttpError, also if it ends early."""
        got = 0
        while chunk := self._read():
            got += len(chunk)
            if got > self._most_bytes:
                raise HttpTooLong(f"{self._shown}: the body is too long; expected at most {self._most_bytes} bytes")
            yield chunk
        if self.length is not None and got < self.length:
            raise HttpHungUp(f"{self._shown}: the connection ended after {got} of {self.length} bytes")

    def _read(self) -> bytes:
        with _named_failures(self._shown):
            return self._response.read1(CHUNK_BYTES)


class HttpClient:
    """Sends requests over http and https, one connection for each. Any thread; each sends one request at a time.

    `ca_file` (PEM) replaces the system's certificates; `idle_s` bounds the time without a single byte.
    """

    def __init__(self, *, ca_file: Path | None = None, idle_s: float = IDLE_S,
                 resolve: Resolve = socket.getaddrinfo) -> None:
        self._ca_file = ca_file
        self._idle_s = idle_s
        self._resolve = resolve

    @contextmanager
    def request(self, url: str, *, deadline: Deadline, most_bytes: int, method: str = "GET",
                headers: Mapping[str, str] | None = None,
                body: bytes | Iterator[bytes] | None = None) -> Iterator[HttpResponse]:
        """Send a request and give the response: its headers are read, its body (at most `most_bytes`) is not.

        A `body` in pieces needs the header `Content-Length`; an error of theirs ends the connection, and is raised.

        Raises: HttpStatus for every status except success, redirects included; HttpUnreachable, HttpTooSlow,
        HttpTooLong.
        """
        parts = _split(url)
        shown = urls.shown(f"{parts.scheme}://{parts.netloc}{parts.path}")
        secret = (headers or {}).get("Authorization", "").rpartition(" ")[2]
        with _named_failures(shown):
            connection = TimedSocket.connect(
                parts.hostname or "", parts.port or _PORTS[parts.scheme], deadline=deadline, idle_s=self._idle_s,
                tls=self._tls if parts.scheme == "https" else None, resolve=self._resolve)
        try:
            with _named_failures(shown, secret):
                response = _send(connection, parts, method, headers or {}, body)
            if connection.ended:                # http.client treats that as the end of the headers
                raise HttpHungUp(f"{shown}: the connection ended within the headers")
            _check_status(shown, response, secret)
            yield HttpResponse(shown, response, most_bytes)
        finally:
            connection.disconnect()

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
        (parts.hostname or "").encode("idna")       # the ssl module would leave a socket open for an invalid name
    except ValueError as failure:
        raise HttpUnreachable(f"{urls.shown(url.partition('?')[0])}: invalid address: {failure}") from failure
    if parts.username is not None or parts.password is not None:
        raise HttpUnreachable(f"{parts.scheme}://…@{parts.hostname}: expected an address without user and password: "
                              "an address is shown in logs and messages")
    if not sound:
        raise HttpUnreachable(f"{urls.shown(url.partition('?')[0])}: expected http://… or https://…")
    return parts


def _send(connection: TimedSocket, parts: SplitResult, method: str, headers: Mapping[str, str],
         body: bytes | Iterator[bytes] | None) -> http.client.HTTPResponse:
    sender = http.client.HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    sender.sock = connection
    with suppress(ConnectionError):     # a server that hangs up on the body may have sent its refusal before
        sender.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, {
            "Host": parts.netloc, "User-Agent": f"vedette/{__version__}", "Accept-Encoding": "identity",
            "Connection": "close", **headers})
    return _final(sender.getresponse(), connection)


def _final(response: http.client.HTTPResponse, connection: TimedSocket) -> http.client.HTTPResponse:
    """Return the final response, after all interim ones: http.client skips status 100 only."""
    while 100 <= response.status < 200 and response.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
        after = http.client.HTTPResponse(connection)  # type: ignore[arg-type]  # it has what http.client uses
        after.fp, response.fp = response.fp, after.fp       # the old reader may hold bytes that it read ahead
        after.begin()
        response = after
    return response


def _check_status(shown: str, response: http.client.HTTPResponse, secret: str) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    text = f"{status} {_printable(response.reason, secret)}".strip()
    if 300 <= status < 400:
        target = re.split("[?#]", urls.shown(response.getheader("Location") or "nowhere"))[0]
        text += f", a redirect to {_printable(target, secret)}; redirects are not followed"
    raise HttpStatus(f"{shown}: the server answered {text}", status, _retry_after_s(response))


def _printable(text: str, secret: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", _without(secret, text))[:200]


def _without(secret: str, text: str) -> str:
    for written in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)} - {""}:
        text = text.replace(written, "***")
    return text


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    """Return the requested seconds (a number, or a date), from 0 to an hour; None if there is no valid value.

    A date counts from the server's own date, since the device's clock may be years off.
    """
    value = response.getheader("Retry-After") or ""
    if re.fullmatch(r"\d+", value):
        return min(float(value.lstrip("0")[:9] or 0), RETRY_AFTER_MOST_S)
    moment, now = _moment(value), _moment(response.getheader("Date") or "") or datetime.now(UTC)
    return None if moment is None else min(max(0.0, (moment - now).total_seconds()), RETRY_AFTER_MOST_S)


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):     # OverflowError: a year or a zone with many digits
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _named_failures(shown: str, secret: str = "") -> Iterator[None]:
    """Turn every failure of the layers below into an HttpError that names the address."""
    try:
        yield
    except TimeoutError as failure:
        raise HttpTooSlow(f"{shown}: no response in time: {failure}") from failure
    except ssl.SSLCertVerificationError as failure:
        raise HttpUnreachable(f"{shown}: its certificate is not trusted: {failure.verify_message}") from failure
    except (OSError, http.client.HTTPException, ValueError) as failure:
        reason = _without(secret, str(failure)) or "the connection ended"
        kind = HttpHungUp if isinstance(failure, _HUNG_UP) else HttpUnreachable
        raise kind(f"{shown}: no usable response: {reason}") from failure
