"""Helpers of the tests that work in a thread of their own, for as long as they are used as a context."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from typing import Self

from tests.support.waiting.fair_clock import PATIENCE_S


class InThread:
    """`_run` is the thread; `_stopping` asks it to end."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        raise NotImplementedError


@contextmanager
def served(server: HTTPServer) -> Iterator[str]:
    """Have a server serve, and close it at the end; yields its address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()
