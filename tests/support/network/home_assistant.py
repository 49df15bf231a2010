"""A real Home Assistant in a Debian folder of its own, set up from apt and PyPI, and asked through its public API.

It runs in a mount namespace, so no mount outlives it. Root only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.network.ports import kept_port
from tests.support.waiting.until import wait_until

VERSION = "2026.2.3"
SUITE = "trixie"        # its Python is new enough for this version
PACKAGES = (f"homeassistant=={VERSION}", "home-assistant-frontend==20260128.6", "paho-mqtt==2.1.0")
OVERRIDE = "lru-dict>=1.3.1"        # the version that it names has no wheel for this Python
START_S = 600
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
OF_ITSELF = ("[homeassistant.bootstrap] Skipping pip", "[aiohttp_fast_zlib]", "[homeassistant.components.go2rtc]",
             "[hass_nabucasa")
"""Loggers, or beginnings of lines, that warn about the way in which it was installed."""

Json = dict[str, Any]


def install(root: Path, log: Path) -> None:
    """Set it up in this folder, unless it is there. Raises: CalledProcessError."""
    if (root / "installed").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    with log.open("ab") as output:
        subprocess.run(["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE,
                        root], stdout=output, stderr=output, check=True)
        for name in (CERTIFICATES, "etc/resolv.conf", "etc/pip.conf"):
            if Path("/", name).exists():
                shutil.copy(Path("/", name), root / name)
        (root / "override").write_text(OVERRIDE + "\n")
        subprocess.run(["chroot", root, "env", "-i", *VARIABLES, "sh", "-euc", (
            "python3 -m venv /opt/ha; /opt/ha/bin/pip install -q uv; export VIRTUAL_ENV=/opt/ha; "
            f"/opt/ha/bin/uv pip install -q --override /override {' '.join(PACKAGES)}")],
            stdout=output, stderr=output, check=True)
    (root / "installed").touch()


VARIABLES = ("PATH=/opt/ha/bin:/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8", f"SSL_CERT_FILE=/{CERTIFICATES}",
             f"PIP_CERT=/{CERTIFICATES}")


class HomeAssistant:
    """One installation with its owner and its MQTT broker; it can be stopped and started again."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._folder = root / "srv" / name
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        with kept_port() as place:
            self._port = int(place.getsockname()[1])
        self._address = f"http://127.0.0.1:{self._port}"
        self._folder.joinpath("configuration.yaml").write_text(
            f"http: {{server_host: 127.0.0.1, server_port: {self._port}}}\napi:\nconfig:\nonboarding:\n"
            "logger: {default: warning}\n")
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it has started."""
        script = (f"mount -t proc proc {self._root}/proc; mount --rbind /dev {self._root}/dev; "
                  f"exec chroot {self._root} env -i {' '.join(VARIABLES)} "
                  f"/opt/ha/bin/hass --skip-pip -c /srv/{self._folder.name}")
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script], stdout=output, stderr=output)
        assert wait_until(self._has_started, START_S), self.log

    def stop(self) -> None:
        """End it in order. Safe to call twice."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_S)
            self._process = None

    @property
    def log(self) -> str:
        return (self._folder / "output").read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Warnings and errors in its log, but for those about its own installation."""
        return [line for line in self.log.split("\n") if (" WARNING " in line or " ERROR " in line)
                and not any(each in line for each in OF_ITSELF)]

    def set_up(self, broker_port: int) -> None:
        """Make the owner, and the connection to a broker on loopback, as a person does in the browser."""
        client = {"client_id": self._address + "/"}
        owner = self.ask("onboarding/users", {**client, "name": "Owner", "username": "owner", "password": "a secret",
                                              "language": "en"})
        self._token = self._post("/auth/token", urllib.parse.urlencode(
            {**client, "grant_type": "authorization_code", "code": owner["auth_code"]}).encode())["access_token"]
        flow = self.ask("config/config_entries/flow", {"handler": "mqtt"})
        made = self.ask(f"config/config_entries/flow/{flow['flow_id']}", {"broker": "127.0.0.1", "port": broker_port})
        assert made["type"] == "create_entry", made

    def states(self) -> dict[str, Json]:
        """The state of each entity, by its friendly name."""
        return {state["attributes"].get("friendly_name", ""): state for state in self.ask("states")}

    def call(self, service: str, entity: Json) -> None:
        """Call a service, such as `button.press`, of an entity."""
        self.ask(f"services/{service.replace('.', '/')}", {"entity_id": entity["entity_id"]})

    def picture(self, entity: Json) -> bytes:
        """Return the picture of an image entity."""
        with self._open(entity["attributes"]["entity_picture"], None) as answer:
            return bytes(answer.read())

    def ask(self, path: str, content: Json | None = None) -> Any:
        """Ask the API, with a GET or, with content, a POST. Raises: URLError."""
        return self._post(f"/api/{path}", None if content is None else json.dumps(content).encode())

    def _post(self, path: str, content: bytes | None) -> Any:
        with self._open(path, content) as answer:
            return json.load(answer)

    def _open(self, path: str, content: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if content is not None and content.startswith(b"{"):
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._address + path, content, headers)      # noqa: S310 - loopback
        return urllib.request.urlopen(request, timeout=60)      # noqa: S310 - as above

    def _has_started(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return bool(self.ask("config")["state"] == "RUNNING" if self._token else self.ask("onboarding"))
        except (OSError, urllib.error.URLError):
            return False


