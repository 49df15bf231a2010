"""Campaign `cloud_budget`: a daily cap holds through kills, counted at the server.

    .venv/bin/python tests/campaign/cloud_budget.py --kills 1000 --state .campaign/cloud_budget.json

Each life is a process with a real client that asks as fast as it can and is killed at a random moment, around a call's
length after its first breath. Resumable: server's count, budget and kills are beside the state file. Prints one JSON
line of figures; exits 1 when a bound was broken.
"""

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.network.clouds import ANSWER, client, config, frame
from vedette._lib.clock import SystemClock
from vedette.errors import CloudBudgetSpent
from vedette.fallback.cloud_budget import FILE, Budget

CAP = 100
BOOT = "this boot"
LIFE_S = 0.03
"""At most; a few calls with their two syncs, so that many lives end within the first."""


class Counting(BaseHTTPRequestHandler):
    """Counts a call before it reads any of its body: a call that has arrived has been paid for."""

    calls = 0

    def do_POST(self) -> None:
        type(self).calls += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        content = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:     # the client was killed
            self.close_connection = True


def serve(port_to: int, counted_to: int, stop_from: int) -> None:
    """Run as a process of its own: tell the port, then at its end how many calls came."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as http:
        os.write(port_to, str(http.server_address[1]).encode())
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        os.read(stop_from, 1)
        http.shutdown()
    os.write(counted_to, str(Counting.calls).encode())


@contextmanager
def server() -> Iterator[tuple[int, list[int]]]:
    """Yield the port and a list that holds the count after the end. Forked: this process must stay without threads."""
    (port_from, port_to), (counted_from, counted_to), (stop_from, stop_to) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        serve(port_to, counted_to, stop_from)
        os._exit(0)
    counted: list[int] = []
    try:
        yield int(os.read(port_from, 10)), counted
    finally:
        os.write(stop_to, b".")
        counted.append(int(os.read(counted_from, 10)))
        os.waitpid(pid, 0)


def live(folder: Path, port: int, ready_to: int) -> None:
    """Ask without end; what is refused is refused for as long as this life lasts."""
    cloud_client = client(folder, f"http://127.0.0.1:{port}/", per_day=CAP)
    os.write(ready_to, b".")
    while True:
        try:
            cloud_client.detect(frame())
        except CloudBudgetSpent:
            os.write(ready_to, b"s")
            signal.pause()


def one_life(folder: Path, port: int, life_s: float) -> bool:
    """Start a life and kill it; returns whether the budget was used up in it."""
    ready_from, ready_to = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            live(folder, port, ready_to)
        finally:
            os._exit(70)
    os.close(ready_to)
    os.read(ready_from, 1)
    spent, _, _ = select.select([ready_from], [], [], random.uniform(0, life_s))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "a life ended by itself"
    os.close(ready_from)
    return bool(spent)


def run(kills: int, life_s: float, state: dict[str, Any], state_file: Path, folder: Path) -> None:
    while state["kills"] < kills:
        turn = min(50, kills - state["kills"])
        with server() as (port, counted):
            state["refused_lives"] += sum(one_life(folder, port, life_s) for _ in range(turn))
        state["kills"] += turn
        state["at_server"] += counted[0]
        cloud = config(folder, "https://x/", per_day=CAP)
        state["written"] = Budget(folder, cloud, SystemClock(), BOOT).windows[1].calls
        state_file.write_text(json.dumps(state))
        print(f"{state['kills']}/{kills}: {state['at_server']} at the server, {state['written']} written down",
              file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--life-s", type=float, default=LIFE_S)
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.state.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {"kills": 0, "at_server": 0, "written": 0, "refused_lives": 0, "folder": ""}
    if arguments.state.exists():
        state = json.loads(arguments.state.read_text())
    else:
        state["folder"] = tempfile.mkdtemp(prefix="cloud-budget-", dir=arguments.state.parent)
    folder = Path(state["folder"])
    run(arguments.kills, arguments.life_s, state, arguments.state, folder)
    kept = state["at_server"] <= state["written"] <= CAP
    # A cap that nobody comes near would hold as well.
    meant = state["written"] == CAP and state["refused_lives"] > 0 if state["kills"] >= 500 else state["at_server"] > 0
    print(json.dumps({**state, "cap": CAP, "file": FILE, "kept": kept and meant}))
    return 0 if kept and meant else 1


if __name__ == "__main__":
    sys.exit(main())
