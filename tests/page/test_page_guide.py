"""nginx as in docs/page.md, in front of a real page: below a path, with the name of the user on the page's socket."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support.network import nginx
from tests.support.network.ports import free_port
from tests.support.waiting.until import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.skipif(nginx.PROGRAM is None, reason="nginx is not installed")]
GUIDE = (nginx.DOCS / "page.md").read_text(encoding="utf-8")
ANNA = {"Authorization": "Basic " + base64.b64encode(b"anna:secret").decode(), "Remote-User": "eve"}


@contextmanager
def page(folder: Path, port: int) -> Iterator[None]:
    """A page of a daemon that is not there."""
    (folder / "config.yaml").write_text(
        f"page: {{daemons: [{folder}/none], proxy_socket: {folder}/proxy.sock, hosts: [cam.example.org]}}\n")
    process = subprocess.Popen([sys.executable, "-m", "vedette", "page", "--config", folder / "config.yaml",
                                "--listen", f"127.0.0.1:{port}"], env={**os.environ, "STATE_DIRECTORY": str(folder)})
    try:
        assert wait_until(lambda: process.poll() is not None or (folder / "proxy.sock").exists())
        yield
    finally:
        process.terminate()
        process.wait(240)


class Browser:
    """Asks for what lies below an address."""

    def __init__(self, address: str, authority: Path | None = None) -> None:
        self._address = address
        self._tls = ssl.create_default_context(cafile=authority)

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked = urllib.request.Request(f"{self._address}{path}", headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(asked, context=self._tls, timeout=240) as reply:  # noqa: S310
                return reply.status, reply.read()
        except HTTPError as error:
            return error.code, error.read()

    def json(self, path: str, headers: dict[str, str]) -> Any:
        status, body = self.get(path, headers)
        assert status == 200, body
        return json.loads(body)


def test_nginx_below_a_path_says_who_asks(tmp_path: Path) -> None:
    """Every address of the page works there, answers may wait, and only nginx can say the name."""
    (tmp_path / "htpasswd").write_text("anna:{PLAIN}secret\n")
    block = nginx.block("page.md").replace("/etc/nginx/cam.htpasswd", str(tmp_path / "htpasswd"))
    port = free_port()
    text = block.replace("/run/vedette-page/proxy.sock", str(tmp_path / "proxy.sock"))
    with page(tmp_path, port), nginx.nginx(tmp_path / "nginx", text) as (url, authority):
        outside = Browser(f"{url}/cam", authority)
        assert outside.get("/", {})[0] == 401
        status, index = outside.get("/", ANNA)
        assert status == 200
        named = re.findall(rb'(?:src|href)="([^"#]+)"', index)
        assert named
        assert {path: outside.get(f"/{path.decode()}", ANNA)[0] for path in named} == dict.fromkeys(named, 200)
        state = outside.json("/api/state", ANNA)
        assert state["login"] == "anna"
        assert outside.get(f"/api/state?after={state['version']}&wait=1", ANNA)[0] == 200
        assert Browser(f"http://127.0.0.1:{port}").json("/api/state", ANNA)["login"] is None


def test_nginx_without_the_socket(tmp_path: Path) -> None:
    """The line that the guide gives for it. The page asks for no password on loopback."""
    (tmp_path / "htpasswd").write_text("anna:{PLAIN}secret\n")
    block = nginx.block("page.md").replace("/etc/nginx/cam.htpasswd", str(tmp_path / "htpasswd"))
    plain = re.search(r"proxy_pass (http://127.0.0.1:8780/);", GUIDE)
    assert plain
    port = free_port()
    text = block.replace("http://unix:/run/vedette-page/proxy.sock:/", plain[1].replace("8780", str(port)))
    with page(tmp_path, port), nginx.nginx(tmp_path / "nginx", text) as (url, authority):
        outside = Browser(f"{url}/cam", authority)
        assert outside.json("/api/state", {**ANNA, "Host": "cam.example.org"})["login"] is None
        assert outside.get("/api/state", {**ANNA, "Host": "evil.example.org"})[0] == 403
