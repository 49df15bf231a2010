"""A request as the service gets it, and its reply. There are no sockets here.

Invariants: header names are lower case; a body is read once, and only when the service asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

REQUEST_S = 10.0
"""Time for a whole exchange, from the connection to the last byte of the reply."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `read(n)` returns exactly n bytes of the body, or fewer where the client ended early."""

    method: str
    path: str
    headers: Mapping[str, str]
    address: str
    """The IP address that has connected. Behind a proxy it is the proxy's."""
    read: Callable[[int], bytes]
    waited_s: Callable[[], float]
    """Seconds since the server accepted the client's connection."""
    via_proxy: bool = False
    """Whether it came over the unix socket of a proxy that says who asks."""

    @property
    def kind(self) -> str:
        """The media type of the body, in lower case, or "" where the head has none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends a request with an error message."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self._status = status
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def reply(self, **more: object) -> Reply:
        """Return the reply, with `more` keys before the message."""
        return Reply(self._status, json.dumps({**more, "error": str(self)}).encode(), headers=self._headers)


def busy(message: str) -> Refusal:
    """Return a refusal that asks the client to come back in a second."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, Retry_After="1")
