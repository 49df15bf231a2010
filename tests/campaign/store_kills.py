"""Campaign `store_kills`: SIGKILL at random moments of installs, activations and rollbacks; nothing kept may be lost.

    .venv/bin/python tests/campaign/store_kills.py --count 1000 --state .campaign/store_kills.json

A forked child does real store operations in a loop and says on a pipe what it tries to keep and what it has kept. After
each kill `recover()` must give a state that was kept or was just being kept, with an active model that is complete and
verified, and nothing but what it names. Resumable: the state file records the finished part. Prints one JSON line of
figures; exits 1 when the law was broken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from vedette.device.identity import StateFolder
from vedette.store.model_store import FOLDERS, ModelStore
from vedette.store.state import Installed, StoreState

SIZES = (1 << 10, 40_000, 300_000, 2 << 20)
LIMIT = 8 << 20
LONGEST_S = 0.25
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mark(state: StoreState) -> str:
    return hashlib.sha256(state.serialize()).hexdigest()


class ReportingStore(ModelStore):
    """Reports each change before and after it is saved."""

    def __init__(self, folder: Path, pipe: int) -> None:
        super().__init__(folder, min_free_bytes=0)
        self._pipe = pipe

    def say(self, kind: str, message: str) -> None:
        os.write(self._pipe, f"{kind} {message}\n".encode())

    def change(self, state: StoreState) -> None:
        self.say("try", mark(state))
        super().change(state)
        self.say("ack", mark(state))


class Worker:
    """The changes that a daemon and its operator make to a store, in any order."""

    def __init__(self, folder: Path, sources: list[Path], pipe: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._sources = sources
        self._state_folder = StateFolder(folder, wait_s=5)
        self.store = ReportingStore(folder / "models", pipe)

    def run(self) -> NoReturn:
        operations = (self.install, self.install_by_hand, self.refuse, self.good, self.bad, self.roll_back,
                      self.restart)
        self.restart()
        while True:
            operation = self._random.choice(operations)
            self.store.say("op", operation.__name__)
            operation()

    def install(self) -> None:
        model = self._staged()
        self.store.change(self.store.state.activated(model, NOW, on_trial=self._random.random() < 0.7))
        self.store.clean_up()

    def install_by_hand(self) -> None:
        source = self._random.choice(self._sources)
        with self.store.receive(source, None, limit_bytes=LIMIT) as received:
            self.store.adopt(received.path, received.sha256)
            model = Installed(sha256=received.sha256, size=received.size, name=source.name)
            self.store.change(self.store.state.activated(model, NOW).with_done_request("request"))
        self.store.clean_up()

    def refuse(self) -> None:
        self._staged()
        self.store.change(self.store.state.dropped_candidate("slow", NOW))
        self.store.clean_up()

    def good(self) -> None:
        self.store.change(self.store.state.marked_good(NOW))

    def bad(self) -> None:
        if self.store.state.previous:
            self.store.change(self.store.state.rolled_back("blind", NOW))
            self.store.clean_up()

    def roll_back(self) -> None:
        if self.store.state.previous:
            self.store.change(self.store.state.rolled_back_by_operator(NOW))
            self.store.clean_up()

    def restart(self) -> None:
        self.store.recover()
        self.store.start(self._random.choice(("one boot", "another")), NOW)

    def _staged(self) -> Installed:
        source = self._random.choice(self._sources)
        sha256, size = self.store.stage(source, None, limit_bytes=LIMIT)
        model = Installed(sha256=sha256, size=size, name=source.name, release=self._random.randrange(1, 9))
        self.store.change(self.store.state.staged(model))
        return model


def killed(folder: Path, sources: list[Path], chance: random.Random) -> list[list[str]]:
    """Let a worker work and kill it; returns its reports."""
    reader, writer = os.pipe()
    seed = chance.randrange(2**32)
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            Worker(folder, sources, writer, seed).run()
        except BaseException:  # noqa: BLE001 - the parent counts it
            os.write(writer, f"fail {traceback.format_exc()!r}\n".encode())
            os._exit(1)
    os.close(writer)
    said = []
    with os.fdopen(reader, "rb") as pipe:
        select.select([pipe], [], [], 30)                               # it has begun
        signal.sigtimedwait([], chance.uniform(0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        said = [line.decode().split(" ", 1) for line in pipe.read().splitlines(keepends=True) if line.endswith(b"\n")]
    os.waitpid(child, 0)
    return [[kind, message.strip()] for kind, message in said]


def check_recovery(folder: Path, said: list[list[str]], known: StoreState) -> tuple[list[str], StoreState]:
    """Recover; returns every broken rule, and the state found."""
    kept = mark(known)
    trying: list[str] = []
    for kind, message in said:
        if kind == "ack":
            kept, trying = message, []
        elif kind == "try":
            trying.append(message)
    store = ModelStore(folder / "models", min_free_bytes=0)
    wrong = [message for kind, message in said if kind == "fail"]
    found = store.recover()
    if mark(found) not in (kept, *trying):
        wrong.append(f"kept {kept}, then lost; found {found!r}")
    if found.active is not None and not whole(store, found.active.sha256):
        wrong.append(f"the active model {found.active.sha256} is damaged")
    rolled_back = found.last_outcome is not None and not found.last_outcome.ok     # also to none, if none was before
    if found.active is None and known.active is not None and not rolled_back:
        wrong.append("no model although there was one")
    if store.trouble:
        wrong.append(store.trouble)
    there = {path.name for path in store.folder.iterdir()} - {"state.json", "state.copy.json", *FOLDERS}
    if there != {f"{model.sha256}.tflite" for model in found.named} or any(store.incoming.iterdir()):
        wrong.append(f"left behind: {sorted(there)}")
    return wrong, found


def whole(store: ModelStore, sha256: str) -> bool:
    return hashlib.sha256(store.path_of(sha256).read_bytes()).hexdigest() == sha256


def campaign(count: int, state: Path, seed: int) -> dict[str, Any]:
    summary: dict[str, Any] = {"kills": 0, "kept": 0, "hit": {}, "wrong": []}
    if state.exists():
        summary = json.loads(state.read_text())
    chance = random.Random(seed + summary["kills"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "state")
        sources = [Path(name, f"model {number}") for number in range(2 * len(SIZES))]
        for number, source in enumerate(sources):
            source.write_bytes(chance.randbytes(SIZES[number // 2]))
        known = StoreState()
        while summary["kills"] < count:
            said = killed(folder, sources, chance)
            wrong, known = check_recovery(folder, said, known)
            operations = [message for kind, message in said if kind == "op"]
            summary["kills"] += 1
            summary["kept"] += sum(kind == "ack" for kind, _ in said)
            summary["hit"] = Counter(summary["hit"]) + Counter(operations[-1:] or ["start"])
            summary["wrong"] += wrong
            if wrong or summary["kills"] % 50 == 0 or summary["kills"] == count:
                state.parent.mkdir(parents=True, exist_ok=True)
                state.write_text(json.dumps(summary))
                print(f"{summary['kills']}/{count} kills, {summary['kept']} changes kept, "
                      f"wrong: {summary['wrong'][-1:]}", file=sys.stderr)
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--state", type=Path, default=Path(".campaign/store_kills.json"))
    args = parser.parse_args()
    summary = campaign(args.count, args.state, args.seed)
    print(json.dumps(summary))
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
