"""Which clients are let in: those with a token of a file, and those of some networks.

Invariants: the file has one token a line and is read again for every request; no token is logged or repeated; a
comparison takes equally long for every wrong token; when the file cannot be read, no token is accepted. Without a file
and networks every request is accepted; the command allows that on loopback only.
"""

from __future__ import annotations

import codecs
import hmac
import ipaddress
import logging
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1 << 20


def read_tokens(path: Path) -> list[bytes]:
    """Return the tokens of a file. Raises: OSError, whose `strerror` says what is wrong."""
    return read_whole(path, FILE_BYTES_MAX).removeprefix(codecs.BOM_UTF8).split()


class Tokens:
    """Checks clients, on any thread."""

    def __init__(self, path: Path | None, networks: Collection[Network] = ()) -> None:
        self._path = path
        self._networks = networks

    def allow_address(self, address: str) -> bool:
        """Return whether the client at this IP address needs no token."""
        if self._path is None and not self._networks:
            return True
        client = ipaddress.ip_address(address)
        if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped:
            client = client.ipv4_mapped     # a socket for IPv6 may take IPv4 as well
        return any(client in network for network in self._networks)

    def allow(self, authorization: str) -> bool:
        """Return whether the value of an `Authorization` header is accepted."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.allow_token(token.strip())

    def allow_token(self, token: str) -> bool:
        """Return whether a token is accepted."""
        if self._path is None:
            return False
        given = token.encode("utf-8", "replace")
        try:
            known = read_tokens(self._path)
        except OSError as error:
            log.error("%s: cannot be read, so no token is accepted: %s", self._path, error.strerror)
            return False
        matches = [hmac.compare_digest(given, each) for each in known]
        return any(matches)
