"""HTTP servers of this process on loopback: any handler, or the files of a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.waiting.fair_clock import PATIENCE_S


@contextmanager
def served(server: HTTPServer) -> Iterator[str]:
    """Run a server in a thread, and close it at the end; yields its address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


@dataclass
class WebServer:
    """`asked` has the requested paths, in order."""

    port: int
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def polls(self) -> int:
        """The number of polls by devices."""
        return self.count("/metadata/timestamp.json")

    def count(self, text: str) -> int:
        return sum(text in path for path in tuple(self.asked))


@contextmanager
def serving_folder(folder: Path, port: int = 0) -> Iterator[WebServer]:
    """Serve a folder over HTTP on loopback; creates it if it is missing."""
    web = WebServer(port)

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            web.asked.append(self.path)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    folder.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(folder)))
    web.port = server.server_address[1]
    with served(server):
        yield web
