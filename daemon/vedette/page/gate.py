"""Who may use the page: for now, everybody on loopback."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from vedette.serve.exchange import Refusal

if TYPE_CHECKING:
    from vedette.config.page import PageConfig
    from vedette.serve.exchange import Reply, Request


class Gate:
    """Any thread."""

    def __init__(self, page: PageConfig, listen_host: str, *, under_tls: bool) -> None:
        self._page = page
        self._host = listen_host
        self._under_tls = under_tls

    def check(self, request: Request, *, route: str) -> str | None:
        """Return the login name. Raises: Refusal."""
        host = request.headers.get("host", "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost", "[::1]"):
            raise Refusal(HTTPStatus.FORBIDDEN, f"{route}: expected another Host")
        return None

    def log_in(self, _request: Request) -> Reply:
        """Raise: Refusal."""
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no password")

    log_out = log_in
