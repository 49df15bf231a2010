"""Campaign `planted_secrets`: secrets wherever a user may put one, and errors in which secrets leak.

    .venv/bin/python tests/campaign/planted_secrets.py --state .campaign/planted_secrets.json

`life`: a daemon whose broker, camera, cloud and update server refuse its logins and repeat them in their answers, that
is sent to another host, reloads bad configurations, dumps its stacks and is aborted. `tls`: keys that are locked,
torn, another's, or where a certificate belongs. `mistakes`: passwords written into every wrong place, shown to every
command. `serve`: the server's side. In no case may a piece of any secret, in any encoding, appear in what was printed,
logged, published, left in the state folder, or in /proc of any process; and no file may be open to others. Resumable by
case. One JSON line; 1 when anything was found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import listening
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.network.detection_server import lamp_picture, served
from tests.support.network.operators_desk import Fleet
from tests.support.network.rude_server import head_of, serving
from tests.support.present import present
from tests.support.truth.bright_squares import write_model
from tests.support.truth.planted import Secret, found, of_pem, plant
from tests.support.waiting.until import wait_until

DEVICE = "gate"
ODD = "p%ä @:/{}\"'\\$&?#=+"
"""Around a core: what URLs, JSON, shells and Python write differently."""
WITHIN_S = 60.0


class SecretScan:
    """Searches every output for secrets, and keeps each find."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = {secret.name: secret for secret in secrets}
        self.bytes = 0
        self.found: list[str] = []

    def text(self, name: str) -> str:
        return self.secrets[name].text

    def add(self, where: str, content: str | bytes, *, but: Iterable[str] = ()) -> None:
        """Search this output; `but`: secrets that the test itself put there."""
        content = content.encode("utf-8", "replace") if isinstance(content, str) else content
        self.bytes += len(content)
        self.found += found([one for one in self.secrets.values() if one.name not in but], where, content)

    def add_folder(self, folder: Path) -> None:
        """Search the files that a process left, and check who may read them."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.add(f"{folder.name}/{path.relative_to(folder)}", path.name.encode() + b"\n" + path.read_bytes())
            if path.stat().st_mode & 0o007:
                self.found.append(f"{path.relative_to(folder)} is open to others: {path.stat().st_mode & 0o777:o}")


@contextmanager
def watched(scan: SecretScan, pid: int, *, but: Iterable[str] = ()) -> Iterator[None]:
    """Read /proc of a process and all below it, again and again."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for one in _family(pid):
                for name in ("cmdline", "environ"):
                    try:
                        seen.add((Path(f"/proc/{one}") / name).read_bytes())
                    except OSError:
                        continue
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        scan.add("/proc", b"\n".join(seen), but=but)


def _family(pid: int) -> list[int]:
    try:
        below = [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                 for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in below for each in _family(child))]


class Camera:
    """Gives pictures of lamps after a login, once `admits` is set; before, it refuses and repeats the login."""

    def __init__(self) -> None:
        self.admits = False
        self.refused = 0
        self.logins: set[str] = set()

    def __call__(self, connection: socket.socket, stopping: threading.Event) -> None:
        head = head_of(connection).decode("latin-1")
        login = header(head, "authorization")
        self.logins |= {login} - {""}
        if not (login and self.admits):
            self.refused += bool(login)
            connection.sendall(f'HTTP/1.1 401 not {login}\r\nWWW-Authenticate: Basic realm="camera"\r\n'
                               f"Content-Length: {len(login)}\r\n\r\n{login}".encode("latin-1"))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        random = np.random.default_rng()
        while not stopping.wait(0.1):
            jpeg = cv2.imencode(".jpg", random.integers(0, 255, (96, 128, 3), np.uint8))[1].tobytes()
            connection.sendall(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg)


def header(head: str, name: str) -> str:
    """Return a header of a request, or nothing."""
    lines = (line.partition(":") for line in head.splitlines())
    return next((value.strip() for key, _, value in lines if key.lower() == name), "")


class Echo:
    """A web server that refuses every request: each answer repeats its head, the first points elsewhere."""

    def __init__(self, elsewhere: str = "") -> None:
        self.asked = 0
        self.tokens: set[str] = set()
        self._elsewhere = elsewhere

    def __call__(self, connection: socket.socket, _: threading.Event) -> None:
        head = head_of(connection).decode("latin-1")
        connection.settimeout(0.3)
        try:
            while connection.recv(65536):
                pass
        except OSError:
            pass
        token = header(head, "authorization").rpartition(" ")[2] or "none"
        self.tokens.add(token)
        self.asked += 1
        if self._elsewhere and self.asked == 1:
            answer = f"HTTP/1.1 307 with {token}\r\nLocation: {self._elsewhere}/{token}?token={token}\r\n\r\n"
        else:
            answer = f"HTTP/1.1 401 {token} refused\r\nX-Token: {token}\r\n\r\n{head}"
        connection.sendall(answer.encode("latin-1"))


def life(folder: Path) -> SecretScan:
    """Every login is refused, then some are let in; the daemon reloads, dumps and is aborted."""
    scan = SecretScan([plant("mqtt password", ODD), plant("wrong password", ODD), plant("camera user", "u-{}"),
                       plant("camera password", ODD), plant("camera query"), plant("first token", "~{}.=+/"),
                       plant("second token"), plant("cloud query"), plant("update query"), plant("proxy password"),
                       *mistaken()])
    camera, elsewhere = Camera(), Echo()
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    login = f"{scan.text('camera user')}:{scan.text('camera password')}"
    for name, text in (("mqtt-password", scan.text("wrong password")), ("camera-login", login),
                       ("cloud-token", scan.text("first token"))):
        write_secret(credentials / name, text)
    with ExitStack() as parts:
        other = f"http://127.0.0.1:{parts.enter_context(serving(elsewhere))}"
        cloud, update = Echo(other), Echo()
        ports = [parts.enter_context(serving(each)) for each in (camera, cloud, update)]
        users = guarded(folder, {DEVICE: scan.text("mqtt password"), "ear": "x"})
        broker = parts.enter_context(running(folder, users))
        config = folder / "config.yaml"
        config.write_text(life_config(scan, broker.port, ports, Fleet(folder).root))
        environ = {"CREDENTIALS_DIRECTORY": str(credentials),
                   "HTTPS_PROXY": f"http://me:{scan.text('proxy password')}@127.0.0.1:9"}
        write_secret(folder / "ear", "x")
        ear = parts.enter_context(listening(broker.client(username="ear", password_file=folder / "ear"), "#"))
        daemon = parts.enter_context(RunningDaemon(folder, "--config", config, "--verbose", "--print", env=environ))
        with watched(scan, daemon.process.pid, but=["proxy password"]):
            live(scan, daemon, camera, cloud, update, credentials, config)
            assert wait_until(lambda: ear.last(f"vedette/{DEVICE}/health") is not None, WITHIN_S), daemon.log
            assert wait_until(lambda: b"config_rejected" in present(ear.last(f"vedette/{DEVICE}/health")).payload,
                              WITHIN_S)
            for command_line in ("doctor", "doctor --json", "check-config", "check-config --json", "tail --count 3",
                          f"snapshot --device {DEVICE} --out x.jpg"):
                result = vedette(*command_line.split(), "--config", folder / "good.yaml", folder=folder, env=environ,
                               timeout_s=WITHIN_S)
                assert result.stdout, (command_line, result.stderr)
                scan.add(command_line, result.stdout + result.stderr)
            daemon.signal(signal.SIGABRT)
            daemon.ends(WITHIN_S)
        assert "Fatal Python error: Aborted" in daemon.log
        assert elsewhere.asked == 0, "the redirect was followed"
        assert camera.logins, "the camera saw no login"
        assert scan.text("first token") in cloud.tokens
        for where, output in (("log", daemon.log), ("results", "".join(daemon.lines)), ("broker's log", broker.log)):
            scan.add(where, output)
        scan.add("MQTT", b"\n".join(each.topic.encode() + b" " + each.payload for each in tuple(ear.received)))
    scan.add_folder(folder / "state")
    return scan


def has_refused(daemon: RunningDaemon, reloads: int) -> bool:
    return daemon.log.count("reload refused") == reloads


def has_named_the_key(daemon: RunningDaemon) -> bool:
    return "cannot be used" in daemon.log or "refuses our TLS" in daemon.log


def live(scan: SecretScan, daemon: RunningDaemon, camera: Camera, cloud: Echo, update: Echo, credentials: Path,
         config: Path) -> None:
    """Go through the refusals, one after the other."""
    assert wait_until(lambda: camera.refused and update.asked, WITHIN_S), daemon.log
    assert daemon.waits_for_log("refuses", WITHIN_S), daemon.log
    write_secret(credentials / "mqtt-password", scan.text("mqtt password"))
    camera.admits = True
    assert wait_until(lambda: cloud.asked >= 2, WITHIN_S), daemon.log
    assert daemon.waits_for_log("nothing is sent until the file holds another", WITHIN_S), daemon.log
    write_secret(credentials / "cloud-token", f"{scan.text('second token')}\nand more")
    assert daemon.waits_for_log("expected one token on one line", WITHIN_S), daemon.log
    daemon.signal(signal.SIGUSR1)
    assert daemon.waits_for_log("is MainThread", WITHIN_S), daemon.log
    shutil.copy(config, config.with_name("good.yaml"))
    for number, text in enumerate(mistakes(scan), 1):
        config.write_text(text)
        daemon.signal(signal.SIGHUP)
        assert wait_until(partial(has_refused, daemon, number), WITHIN_S), daemon.log


def life_config(scan: SecretScan, port: int, ports: list[int], root: Path) -> str:
    camera, cloud, update = (f"http://127.0.0.1:{each}" for each in ports)
    return f"""device: {DEVICE}
mqtt: {{port: {port}, username: {DEVICE}, password_file: mqtt-password}}
camera: {{source: "{camera}/video.cgi?login={scan.text('camera query')}", credentials_file: camera-login}}
cloud: {{enabled: true, url: "{cloud}/v1/detect?session={scan.text('cloud query')}", token_file: cloud-token,
        interval_s: 0.2}}
fallback: {{motion: true}}
publish: {{results: all}}
commands: {{allow: [snapshot]}}
update: {{source: "{update}/repo?usersign={scan.text('update query')}", root: {root}, poll_minutes: 0.02}}
health: {{interval_s: 1}}
"""


def mistaken() -> list[Secret]:
    """Secrets that are written into the configuration itself."""
    return [plant(f"mistake {name}", pattern) for name, pattern in {
        "url": "p%/{}", "blank": "p {}", "digits": "12/{}", "quote": "'{}", "query": "{}", "no scheme": "{}",
        "host": "{}", "cloud url": "{}", "cloud query": "{}", "update url": "{}", "unknown": "{}", "password": "{}",
        "token": "{}." * 40, "login": "{}", "key": "{}", "tag": "{}", "handle": "{}", "number": "{}",
        "open quote": "{}", "underscore": "{}", "short": "{}", "segment": "{}", "semicolon": "{}", "update key": "{}",
        "cloud key": "{}", "variable": "{}", "unknown variable": "{}", "flag": "{}"}.items()]


def mistakes(scan: SecretScan) -> Iterator[str]:
    """Configurations with a secret in a wrong place."""
    def secret(name: str) -> str:
        return json.dumps(scan.text(f"mistake {name}"))[1:-1]
    for source in (f"rtsp://admin:{secret('url')}@cam/1", f"rtsp://admin:{secret('blank')}@cam/1",
                   f"rtsp://admin:{secret('digits')}@cam/1", f"rtsp://admin:{secret('quote')}@cam/1",
                   f"ftp://cam/video?user=a&password={secret('query')}", f"admin:{secret('no scheme')}@cam/1"):
        yield f'camera: {{source: "{source}"}}\n'
        yield f'camera: {{source: ["{source}"]}}\n'
    yield f"""mqtt: {{host: "mqtt://me:{secret('host')}@broker", password: {secret('unknown')}, username: me,
  password_file: {secret('password')}, tls: {{cert_file: x, key_file: {secret('key')}}}}}
cloud: {{url: "ftp://me:{secret('cloud url')}@cloud/v1", token_file: {secret('token')}}}
update: {{source: "ftp://me:{secret('update url')}@repo"}}
camera: {{credentials_file: "me:{secret('login')}"}}
"""
    for source in (f"rtsp://cam/user=admin_password={secret('underscore')}_channel=1_stream=0.sdp",
                   f"http://cam/v.mjpg?user=x&pw={secret('short')}", f"rtsp://cam/password/{secret('segment')}/live",
                   f"rtsp://cam/live;user:x;passwd:{secret('semicolon')}"):
        yield f'camera: {{source: "{source}"}}\n'
        yield f'camera: {{source: ["{source}"]}}\n'
    yield f"""update: {{source: "https://repo/x?access_token={secret('update key')}"}}
cloud: {{url: "https://cloud/v1?api-key={secret('cloud key')}"}}
camera: {{source: "http://cam/v.mjpg?user=x&pw={secret('short')}"}}
"""
    yield f"cloud: {{url: 'ftp://cloud/v1?token={secret('cloud query')}'}}\n"
    yield f"mqtt:\n  password: !{secret('tag')}\n"
    yield f"mqtt:\n  password: !{secret('handle')}!x y\n"
    yield f"mqtt:\n  password_file: 0x{int(secret('number'), 16):x}\n"
    yield f'mqtt:\n  password: "{secret("open quote")}\n'


def mistakes_case(folder: Path) -> SecretScan:
    """Run every command that reads a configuration with each mistake."""
    scan = SecretScan(mistaken())
    path = folder / "config.yaml"
    environ = {"VEDETTE_CAMERA__SOURCE": f"rtsp://me:{scan.text('mistake variable')}@cam",
               "VEDETTE_MQTT__PASSWORD": scan.text("mistake unknown variable")}
    flag = f"rtsp://me:{scan.text('mistake flag')}@cam"
    for number, text in enumerate(mistakes(scan)):
        path.write_text(text)
        commands: list[list[str | Path]] = [["check-config", "--json"]]
        if "tls" in text or "access_token" in text:
            commands += [["check-config"], ["run"], ["run", "--source", flag], ["doctor"], ["doctor", "--json"],
                         ["tail"], ["snapshot", "--out", folder / "x.jpg"]]
        for command in commands:
            result = vedette(*command, "--config", path, folder=folder, env=environ, timeout_s=WITHIN_S)
            assert result.returncode in (69, 78), (command, result)
            scan.add(f"{' '.join(map(str, command[:1]))} on mistake {number}", result.stdout + result.stderr)
    return scan


def tls(folder: Path) -> SecretScan:
    """Keys that cannot be used, at a broker that wants one."""
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=WITHIN_S)

    phrase = plant("pass phrase")
    for name in ("server", "device", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl("pkey", "-in", "device.key", "-aes256", "-passout", f"pass:{phrase.text}", "-out", "locked.key")
    text = (folder / "device.key").read_text()
    (folder / "torn.key").write_text(text[:len(text) // 2])
    keys = [of_pem(name, folder / f"{name}.key") for name in ("device", "other", "locked", "torn")]
    scan = SecretScan([phrase, *keys])
    settings = (f"cafile {folder}/server.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n"
                "require_certificate true\nallow_anonymous true")
    with running(folder, settings) as broker:
        for cert, key in (("device.pem", "locked.key"), ("device.pem", "torn.key"), ("device.pem", "other.key"),
                          ("device.key", "device.key"), ("device.pem", "device.key"), ("device.key", None)):
            config = folder / "config.yaml"
            chain = f"cert_file: {cert}" + (f", key_file: {key}" if key else "")
            config.write_text(f"device: {DEVICE}\ncamera: {{source: synthetic}}\n"
                              f"mqtt: {{port: {broker.port}, tls: {{ca_file: server.pem, {chain}}}}}\n")
            with RunningDaemon(folder, "--config", config, "--verbose") as daemon, watched(scan, daemon.process.pid):
                assert daemon.waits_for_log("broker", WITHIN_S), daemon.log
                assert wait_until(partial(has_named_the_key, daemon), WITHIN_S), daemon.log
                daemon.signal(signal.SIGTERM)
                assert daemon.ends(WITHIN_S) == 0
            scan.add(f"log with {cert}, {key}", daemon.log)
    scan.add_folder(folder / "state")
    return scan


def serve(folder: Path) -> SecretScan:
    """The server's tokens, and those that clients try."""
    scan = SecretScan([plant("server token", "{}~.+/="), plant("wrong token"), plant("token in the path"),
                       plant("basic password")])
    write_model(folder)
    (folder / "allowed").write_text(scan.text("server token") + "\n")
    (folder / "allowed").chmod(0o600)
    with served(folder, "--token-file", str(folder / "allowed")) as url:
        said = b""
        for headers, path in (({"Authorization": f"Bearer {scan.text('wrong token')}"}, "/v1/detect"),
                              ({"Authorization": f"Bearer {scan.text('server token')}"}, "/v1/detect"),
                              ({"Authorization": f"Bearer {scan.text('server token')}"}, "/metrics"),
                              ({}, f"/v1/detect?token={scan.text('token in the path')}"),
                              ({"Authorization": f"Basic me:{scan.text('basic password')}"}, "/nowhere")):
            connection = HTTPConnection(url.removeprefix("http://"), timeout=WITHIN_S)
            connection.request("POST" if "detect" in path else "GET", path,
                               lamp_picture() if "detect" in path else None, {"Content-Type": "image/jpeg", **headers})
            answer = connection.getresponse()
            said += str(answer.getheaders()).encode() + answer.read()
            connection.close()
        scan.add("answers", said)
    return scan


def guarded(folder: Path, passwords: dict[str, str]) -> str:
    """Return the settings of a broker that knows these users."""
    file = folder / "passwords"
    file.touch(mode=0o600)
    for user, password in passwords.items():
        subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True, capture_output=True)
    return f"allow_anonymous false\npassword_file {file}\nlog_type all"


def write_secret(path: Path, text: str) -> None:
    """Replace it in one step: a reader gets the whole text."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n")
    fresh.chmod(0o600)
    fresh.rename(path)


CASES: dict[str, Callable[[Path], SecretScan]] = {"life": life, "tls": tls, "mistakes": mistakes_case, "serve": serve}


def one(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        scan = CASES[name](Path(folder))
    return {"case": name, "secrets": len(scan.secrets), "bytes": scan.bytes, "found": sorted(set(scan.found))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/planted_secrets.json"))
    args = parser.parse_args()
    done = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for name in args.case or CASES:
        if name not in [each["case"] for each in done]:
            done.append(one(name))
            print(done[-1], file=sys.stderr, flush=True)
            args.state.write_text(json.dumps(done))
    result = {"campaign": "planted_secrets", "cases": {each["case"]: each["secrets"] for each in done},
            "secrets": sum(each["secrets"] for each in done), "bytes": sum(each["bytes"] for each in done),
            "found": [place for each in done for place in each["found"]]}
    print(json.dumps(result))
    return 1 if result["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
