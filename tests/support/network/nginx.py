"""A real nginx on loopback with a guide's own lines: started, awaited, ended by its process id."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.network.ports import free_port, listens
from tests.support.network.rude_server import certify
from tests.support.waiting.until import wait_until

PROGRAM = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
DOCS = Path(__file__).parents[3] / "docs"


def block(page: str) -> str:
    """Return the `nginx` block of a page."""
    found = re.search(r"```nginx\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found, page
    return found[1]


@contextmanager
def nginx(folder: Path, text: str) -> Iterator[tuple[str, Path]]:
    """Serve with these lines of `http`, whose `listen 443 ssl` becomes a free port; yield its address and authority."""
    folder.mkdir(exist_ok=True)
    certificate, key = certify(folder)
    port = free_port()
    text = re.sub(r"(ssl_certificate +)\S+;", rf"\g<1>{certificate};", text)
    text = re.sub(r"(ssl_certificate_key +)\S+;", rf"\g<1>{key};", text)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(f"daemon off;\npid {folder}/pid;\nuser root;\nworker_processes 2;\nevents {{}}\n"
                      f"error_log {folder}/error.log warn;\nhttp {{\naccess_log {folder}/access.log;\n{temporary}\n"
                      f"{text.replace('listen 443', f'listen 127.0.0.1:{port}')}\n}}\n")
    process = subprocess.Popen([str(PROGRAM), "-c", str(config), "-e", str(folder / "error.log")])
    try:
        assert wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"https://127.0.0.1:{port}", certificate
    finally:
        process.terminate()
        process.wait(10)
