"""Campaign `page_attacks`: whatever is done to the page, the daemon goes on detecting, and nobody gets in.

    .venv/bin/python tests/campaign/page_attacks.py --state .campaign/page_attacks.json

A real daemon on the drawn street, a real broker, and the real page with a password. For each attack both are started
anew: some seconds of peace, the attack, and some seconds more. Meanwhile an honest viewer, who has logged in from
another address, asks for picture after picture. Judged: what the attack itself must not reach, the viewer's answers,
the rate of detection beside that of the peace, captured = detected + dropped + pending, the memory and threads of
daemon and page, and their logs. Resumable by attack. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import running
from tests.support.broker.witness import Witness
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.network.page_server import (
    BASIC,
    LOGIN,
    PASSWORD,
    PAUSE,
    STATE,
    TWO_MEANINGS,
    connect,
    exchange,
    status_of,
)
from tests.support.network.ports import free_port
from tests.support.waiting.in_thread import InThread
from tests.support.waiting.until import wait_until
from vedette.page.passwords import write_password
from vedette.serve.server import CONNECTIONS

FPS = 10
VIEWER, ATTACKER = "127.0.0.2", "127.0.0.1"
GROWTH_MB = {"daemon": 3.0, "page": 6.0}
TCP_ESTABLISHED = 1
ALARMING = ("ERROR", "CRITICAL", "Traceback", "WARNING")
WITHIN_S = 120.0
FOREIGN = [b"Origin: http://evil.example\r\n", b"Origin: null\r\n", b"Sec-Fetch-Site: cross-site\r\n",
           b"Sec-Fetch-Site: same-site\r\n", b"Origin: http://localhost:1\r\n"]
FORMS = [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"]
NAMES = [b"evil.example", b"evil.example:8780", b"localhost.evil.example", b"127.0.0.1.evil.example", b"192.168.1.7"]


class Stage:
    """A daemon, its page, and an honest viewer."""

    def __init__(self, folder: Path, port: int, witness: Witness) -> None:
        self.port = port
        self.statuses: Counter[str] = Counter()
        self.witness = witness
        self._folder = folder
        self._config = folder / "config.yaml"
        assert wait_until(lambda: witness.listening)
        self.daemon = RunningDaemon(folder, "--config", self._config)
        self.wait("the first results", lambda: self.capture["detected"] > FPS)
        self.page = self._start_page()
        self.pages = 1
        self.page_log = ""

    def _start_page(self) -> RunningDaemon:
        return RunningDaemon(self._folder, "--config", self._config, "--listen", f"127.0.0.1:{self.port}",
                             program=("-m", "vedette", "page"),
                             env={"STATE_DIRECTORY": str(self._folder / "page")})

    def restart_page(self) -> None:
        """Kill the page, and start it again."""
        self.page.signal(signal.SIGKILL)
        self.page_log += self.end_page()
        self.page = self._start_page()
        self.pages += 1

    def end_page(self) -> str:
        self.page.__exit__()
        return self.page.log

    def ask(self, content: bytes, source: str = ATTACKER) -> bytes:
        """One request; what comes back, or nothing."""
        try:
            return exchange(connect(self.port, source, 30.0), content)
        except OSError:
            return b""

    def tries(self, content: bytes, what: str) -> int:
        """One request of an attack; its status is counted."""
        status = status_of(self.ask(content))
        self.statuses[f"{what} {status}"] += 1
        return status

    def shows(self) -> bool:
        reply = self.ask(get(b"/frame.jpg"), VIEWER)
        return status_of(reply) == 200 and b"\xff\xd8" in reply

    @property
    def capture(self) -> dict[str, Any]:
        return dict(self.witness.health.get("capture", {"detected": 0, "captured": 0, "dropped": {}, "pending": 0}))

    def arrived(self) -> int:
        """How many results have come, and how many were counted as dropped on the way."""
        return len(self.witness.seqs) + int(self.witness.health["mqtt"]["dropped_ever"].get("detections", 0))

    def moment(self) -> dict[str, Any]:
        """What has been detected so far, and what the processes hold."""
        health = self.witness.health
        return {"detected": self.capture["detected"], "dropped": dict(self.capture["dropped"]),
                "uptime_s": health["uptime_s"], "daemon": held(self.daemon), "page": held(self.page)}

    def passes(self, seconds: float) -> None:
        """Let so much of the daemon's time pass, by its health."""
        until = self.witness.health["uptime_s"] + seconds
        self.wait("health", lambda: self.witness.health["uptime_s"] >= until)

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        assert wait_until(lambda: holds() or self.daemon.process.poll() is not None, WITHIN_S), \
            (what, self.witness.health, self.daemon.log[-3000:])
        assert self.daemon.process.poll() is None, self.daemon.log[-3000:]


class Viewer(InThread):
    """Somebody who has logged in, and asks for each new picture."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.pictures = self.failures = 0
        self._stage = stage

    def _run(self) -> None:
        cookie, seq = b"", 0
        while not self._stopping.is_set():
            if not cookie:
                cookie = cookie_of(self._stage.ask(login(PASSWORD), VIEWER))
                self._stopping.wait(0 if cookie else 0.2)
                continue
            path = f"/frame.jpg?after={seq}&wait=5".encode()
            reply = self._stage.ask(get(path, b"Cookie: " + cookie + b"\r\n"), VIEWER)
            status = status_of(reply)
            head = reply.partition(b"\r\n\r\n")[0]
            if status == 200:
                self.pictures += 1
                seq = int(head.partition(b"Vedette-Seq: ")[2].partition(b"\r\n")[0])
            else:
                self.failures += status != 204
                cookie = b"" if status == 401 else cookie        # the page is another one, which knows no session
                self._stopping.wait(0.05)


def get(path: bytes, headers: bytes = BASIC) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"


def login(password: str) -> bytes:
    body = json.dumps({"password": password}).encode()
    return LOGIN + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def cookie_of(reply: bytes) -> bytes:
    return reply.partition(b"Set-Cookie: ")[2].partition(b";")[0]


def held(process: RunningDaemon) -> dict[str, float]:
    """What a process holds: private megabytes, threads, descriptors."""
    place = Path(f"/proc/{process.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return {"mb": round(int(status["RssAnon"].split()[0]) / 1e3, 1), "threads": int(status["Threads"]),
            "fds": len(list((place / "fd").iterdir()))}


def logins(stage: Stage, count: int) -> None:
    """Guess the password: half by the form, half with each request. The right one among them is not noticed."""
    for number in range(count):
        guess = PASSWORD if number == count - 1 else f"guess {number}"
        if number % 2:
            stage.tries(login(guess), "login")
        else:
            basic = base64.b64encode(f":{guess}".encode())
            stage.tries(get(b"/api/state", b"Authorization: Basic " + basic + b"\r\n"), "basic")
    stage.wait("the owner gets in again", lambda: status_of(stage.ask(login(PASSWORD))) == 200)


def sites(stage: Stage, count: int) -> None:
    """Have a browser that is logged in send what another site wants, and ask under another name."""
    cookie = b"Cookie: " + cookie_of(stage.ask(login(PASSWORD))) + b"\r\n"
    for _ in range(max(1, count // 20)):
        for foreign in FOREIGN:
            stage.tries(PAUSE + cookie + foreign + b"Content-Length: 2\r\n\r\n{}", "csrf")
        for form in FORMS:
            stage.tries(PAUSE.replace(b"application/json", form) + cookie + b"Content-Length: 2\r\n\r\n{}", "form")
        for name in NAMES:
            stage.tries(get(b"/api/state", cookie).replace(b"localhost", name), "name")
            stage.tries(get(b"/api/state").replace(b"localhost", name), "name")
        stage.tries(get(b"/frame.jpg", b"Remote-User: ann\r\n"), "remote user")


def heads(stage: Stage, count: int) -> None:
    """Send heads with two meanings, and paths that lead out."""
    for _ in range(max(1, count // len(TWO_MEANINGS))):
        for content in TWO_MEANINGS.values():
            stage.tries(content, "head")
        stage.tries(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "garbage")


def slow(stage: Stage, count: int) -> None:
    """Drip heads and bodies, always from as many connections as there may be."""
    begun = itertools.cycle((b"", STATE + b"X: ", LOGIN + b"Content-Length: 4000\r\n\r\n"))
    hold(stage, count, CONNECTIONS, lambda: next(begun), drips)


def crowd(stage: Stage, count: int) -> None:
    """Hold 200 connections that say nothing, and open each again that was closed."""
    hold(stage, count, 200, bytes, is_open)


def unread(stage: Stage, count: int) -> None:
    """Ask for pictures and files on 200 connections, and never read a byte of them."""
    paths = itertools.cycle((b"/frame.jpg", b"/static/vendor/uPlot.esm.js", b"/api/state", b"/api/reasons"))
    hold(stage, count, 200, lambda: get(next(paths)), is_there)


def hold(stage: Stage, count: int, most: int, begin: Callable[[], bytes], goes_on: Callable[[socket.socket], bool]
         ) -> None:
    """Hold so many connections, each begun in this way, and replace those that do not go on, for `count` / 50 s."""
    held_open: list[socket.socket] = []
    try:
        for _ in range(max(1, count // 10)):
            while len(held_open) < most:
                held_open.append(connect(stage.port, ATTACKER, 30.0))
                stage.statuses["opened"] += 1
                with suppress(OSError):
                    held_open[-1].sendall(begin())
                    held_open[-1].setblocking(False)
            going_on = [each for each in held_open if goes_on(each)]
            for each in set(held_open).difference(going_on):
                each.close()
            held_open = going_on
            threading.Event().wait(0.2)
    finally:
        for each in held_open:
            each.close()


def drips(connection: socket.socket) -> bool:
    try:
        return bool(connection.send(b"x")) and is_open(connection)
    except OSError:
        return False


def is_open(connection: socket.socket) -> bool:
    """Read what there is; return whether more may come."""
    try:
        return bool(connection.recv(4096))
    except BlockingIOError:
        return True
    except OSError:
        return False


def is_there(connection: socket.socket) -> bool:
    """Whether the other side has not hung up, as far as the kernel knows without a read."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state == TCP_ESTABLISHED


def kills(stage: Stage, count: int) -> None:
    """Kill the page again and again. A new one shows the same daemon."""
    for _ in range(max(1, count // 10)):
        stage.restart_page()
        stage.wait("the page after a kill", stage.shows)
        stage.statuses["killed"] += 1


ATTACKS: dict[str, Callable[[Stage, int], None]] = {
    "logins": logins, "sites": sites, "heads": heads, "slow": slow, "crowd": crowd, "unread": unread, "kills": kills}


@contextmanager
def staged() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as name, running(
            folder := Path(name), "allow_anonymous true\nmax_queued_messages 0") as broker, \
            Witness(broker.client(), DEVICE) as witness:
        write_password(folder / "password", PASSWORD)
        write_config(folder, broker.port, camera=f"{{source: synthetic, width: 640, height: 360, fps: {FPS}}}",
                     detector="{threads: 1}", publish="{results: all, max_per_s: 1000000}",
                     page=f"{{daemons: [{folder}/state/socket], password_file: password}}")
        stage = Stage(folder, free_port(), witness)
        with stage.daemon:
            try:
                stage.wait("the page", stage.shows)
                yield stage
            finally:
                stage.page_log += stage.end_page()


def one_attack(name: str, count: int, peace_s: float, settle_s: float) -> dict[str, Any]:
    """Attack once to warm up, and once to measure; return the figures."""
    with staged() as stage, Viewer(stage) as viewer:
        stage.wait("the viewer's pictures", lambda: viewer.pictures > FPS)
        reasons_before, peace = stage.witness.reasons, [stage.moment()]
        stage.passes(peace_s)
        peace.append(stage.moment())
        ATTACKS[name](stage, count // 4)
        stage.passes(settle_s)      # until the limits of time have ended what was left open
        before, pictures, failures = stage.moment(), viewer.pictures, viewer.failures
        began_s = time.monotonic()
        stage.statuses.clear()
        while not stage.statuses or time.monotonic() < began_s + peace_s:
            ATTACKS[name](stage, count)
        attack_s = time.monotonic() - began_s
        stage.passes(1)
        after = stage.moment()
        seen = {"pictures": viewer.pictures - pictures, "failures": viewer.failures - failures}
        stage.passes(settle_s)
        rest = stage.moment()
        reasons = sorted(stage.witness.reasons - reasons_before)
        page_log = stage.page_log + stage.page.log      # later it says that the daemon has ended
        stage.daemon.signal(signal.SIGTERM)
        code = stage.daemon.ends(60)
        wait_until(lambda: stage.arrived() >= stage.capture["detected"], 10)
        capture = stage.capture
        last = stage.witness.health
        return {"seconds": round(attack_s, 1), "statuses": dict(stage.statuses), "viewer": seen, "pages": stage.pages,
                "rate": {"peace": rate(*peace), "attack": rate(before, after)},
                "dropped": {"peace": dropped(*peace), "attack": dropped(before, after)},
                "balance": capture["captured"] - capture["detected"] - sum(capture["dropped"].values())
                - capture["pending"], "errors": last["inference"]["errors"], "reasons": reasons,
                "missing": capture["detected"] - stage.arrived(),
                "daemon": [before["daemon"], rest["daemon"]], "page": [before["page"], rest["page"]], "code": code,
                "daemon_log": alarming(stage.daemon.log), "page_log": alarming(page_log)}


def rate(begin: dict[str, Any], end: dict[str, Any]) -> float:
    """Frames that were detected per second, between two moments."""
    return round(float((end["detected"] - begin["detected"]) / (end["uptime_s"] - begin["uptime_s"])), 2)


def dropped(begin: dict[str, Any], end: dict[str, Any]) -> dict[str, int]:
    return {cause: count - begin["dropped"].get(cause, 0) for cause, count in end["dropped"].items()
            if count > begin["dropped"].get(cause, 0)}


def alarming(log: str) -> list[str]:
    return [line[:300] for line in log.splitlines() if any(word in line for word in ALARMING)][:10]


def broken_limits(done: dict[str, dict[str, Any]], least_share: float) -> list[str]:
    """Name the broken limits."""
    broken = []
    for name, seen in done.items():
        passed = {each: count for each, count in seen["statuses"].items()
                  if each.rpartition(" ")[2] in ("200", "204", "304")}
        kept = {
            "nobody gets in": not passed,
            "tries are limited": name != "logins" or seen["statuses"].get("login 401", 0)
            + seen["statuses"].get("basic 401", 0) <= 5 + seen["seconds"] / 20 + 1,
            "captured = detected + dropped + pending": seen["balance"] == 0,
            "every result came": seen["missing"] == 0,
            "rate": seen["rate"]["attack"] >= least_share * seen["rate"]["peace"],
            "the viewer sees": seen["viewer"]["pictures"] > 0 and (name == "kills" or not seen["viewer"]["failures"]),
            "errors, reasons, code": not (seen["errors"] or seen["reasons"] or seen["code"]),
            "logs": not (seen["daemon_log"] or seen["page_log"]),
        }
        for process, most_mb in GROWTH_MB.items():
            early, late = seen[process]
            kept[f"{process}: memory"] = late["mb"] <= early["mb"] + most_mb
            kept[f"{process}: threads"] = late["threads"] <= early["threads"] + 2
            kept[f"{process}: descriptors"] = late["fds"] <= early["fds"] + 4
        broken += [f"{name}: {what}" for what, right in kept.items() if not right]
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="tries of each attack; a tenth as many kills")
    parser.add_argument("--peace-s", type=float, default=20)
    parser.add_argument("--settle-s", type=float, default=12, help="after an attack")
    parser.add_argument("--least-share", type=float, default=0.9, help="of the rate in peace")
    parser.add_argument("--attack", choices=ATTACKS, action="append", help="only this one; may be given again")
    parser.add_argument("--state", type=Path, default=Path(".campaign/page_attacks.json"))
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for name in args.attack or ATTACKS:
        if name not in done:
            done[name] = one_attack(name, args.count, args.peace_s, args.settle_s)
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = broken_limits(done, args.least_share)
    print(json.dumps({"campaign": "page_attacks", "attacks": done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
