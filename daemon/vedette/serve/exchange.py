"""A request as the service sees it, and its reply: no sockets here.

Invariants: header names are lower case; a body is read once, and only where the service wants it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `read(n)` returns exactly n bytes of the body, or fewer where the client ended early."""

    method: str
    path: str
    headers: Mapping[str, str]
    read: Callable[[int], bytes]
    waited_s: Callable[[], float]
    """Seconds since the client's connection was taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends a request with an error in words."""

    def __init__(self, status: HTTPStatus, words: str, **headers: str) -> None:
        super().__init__(words)
        self.reply = Reply(status, json.dumps({"error": words}).encode(),
                           headers={name.replace("_", "-"): value for name, value in headers.items()})


def busy(words: str) -> Refusal:
    """Refuse for now: come back in a second."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, words, Retry_After="1")
