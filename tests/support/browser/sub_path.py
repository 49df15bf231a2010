"""A reverse proxy that serves another server under a path, as people's proxies do."""

from __future__ import annotations

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.in_thread import InThread


class SubPath(InThread):
    """While it is used as a context, `http://127.0.0.1:PORT/cam/x` answers what `x` of the server behind it does."""

    path = "/cam/"

    def __init__(self, port: int) -> None:
        super().__init__()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith(SubPath.path):
                    self.send_error(404)
                    return
                behind = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
                try:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    behind.request(self.command, self.path.removeprefix(SubPath.path.rstrip("/")), body,
                                   dict(self.headers.items()))
                    answer = behind.getresponse()
                    content = answer.read()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in {"connection", "content-length", "date", "server"}:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:       # whoever asked has gone, or the page has ended
                    self.close_connection = True
                finally:
                    behind.close()

            do_POST = do_GET        # noqa: N815 - the name that http.server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of its base
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}{self.path}"

    def __exit__(self, *what: object) -> None:
        self._server.shutdown()
        super().__exit__(*what)
        self._server.server_close()

    def _run(self) -> None:
        self._server.serve_forever(0.05)
