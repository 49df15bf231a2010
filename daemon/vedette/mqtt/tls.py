"""The TLS of a broker connection; every failure has a message.

Invariants: nothing waits for a typed pass phrase or for the writer of a pipe; a message names the file that cannot be
used, which the ssl module does not do; a failed handshake leaves no descriptor open, and its message says if the port
speaks no TLS. With TLS 1.3 a broker refuses a client certificate only after the handshake, in an alert that paho would
swallow: it becomes TlsRefused.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any, NoReturn

from vedette.config.models import TlsConfig

PROBE_S = 2.0


class TlsRefused(Exception):
    """The broker ended the connection with an alert. It is not an OSError, since paho swallows those."""


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the TLS context for paho. Raises: ValueError naming the files that cannot be used."""
    for key in ("ca_file", "cert_file", "key_file"):
        _refuse_what_blocks(key, getattr(tls, key))
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as failure:
        raise ValueError(f"mqtt.tls.ca_file {tls.ca_file} cannot be used: {failure}") from failure
    context.sslsocket_class = _TidySocket
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, _refuse_pass_phrase)
        except (OSError, ValueError) as failure:
            key = f"key_file {tls.key_file}" if tls.key_file else "its key"
            raise ValueError(f"mqtt.tls.cert_file {tls.cert_file} with {key} cannot be used: {failure}") from failure
    return context


def expects_tls(host: str, port: int) -> bool:
    """Return whether a port answers in TLS: a handshake of at most PROBE_S shows it. Nothing is verified or sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), PROBE_S) as plain, \
                context.wrap_socket(plain, server_hostname=host):
            return True
    except ssl.SSLError as failure:     # a refusal is said in TLS too
        return "ALERT" in (failure.reason or "") or failure.reason == "UNSUPPORTED_PROTOCOL"
    except (OSError, ValueError):
        return False


class _TidySocket(ssl.SSLSocket):
    """Closes itself when TLS ends in a refusal: paho does not, so each attempt would leave a descriptor open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError as failure:
            self.close()
            ended = isinstance(failure, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)  # by Python's patch
            if ended or "WRONG_VERSION_NUMBER" in str(failure):
                kind = ConnectionResetError if ended else ConnectionError      # who hangs up may have too much to do
                raise kind(f"the port may speak no TLS: expected a broker's TLS port, mostly 8883 "
                                      f"({failure})") from failure
            raise

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except (ConnectionError, ssl.SSLEOFError):
            with contextlib.suppress(OSError):      # the broker has closed; an unread alert may give the reason
                self.recv()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as failure:
            if "ALERT" in (failure.reason or ""):
                self.close()
                raise TlsRefused(failure.reason.replace("_", " ").lower()) from failure
            raise


def _refuse_what_blocks(key: str, path: Path | None) -> None:
    if path is not None and path.exists() and not path.is_file():
        raise ValueError(f"mqtt.tls.{key} {path} cannot be used: not a regular file")


def _refuse_pass_phrase() -> NoReturn:
    raise ValueError("the key is locked with a pass phrase; expected a key without one, since nobody can type it")
