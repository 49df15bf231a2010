"""HTTP servers of this process on loopback: any handler, or the files of a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer

from tests.support.waiting.fair_clock import PATIENCE_S


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
