"""Campaign `hands`: `model install | activate | rollback` beside a daemon that is stopped and killed at random moments.

    .venv/bin/python tests/campaign/hands.py --count 200 --state .campaign/hands.json

Root and the service's user ask in turn, now and then both at once. Meanwhile the daemon, which belongs to that user and
is started again whenever it ends, is killed or stopped, mostly within the request. After each round: the request was
answered, a complete model runs and is the one that state.json names, what was acknowledged is so (or was given up for
its crashes, and says so), what was refused changed nothing, nothing lies about, and every file is the service's.
Resumable. Prints one JSON line of figures; exits 1 when the law was broken. Root only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.daemon.as_nobody import give_away
from tests.support.daemon.as_service import AS_USER, USER, everyones_python, missing, modules
from tests.support.daemon.kept_alive import KeptAlive
from tests.support.daemon.running import RunningDaemon, environment
from tests.support.daemon.update_device import DEVICE, Device, device_in
from tests.support.models import lamps
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette.store.state import StoreState

VERSIONS = ("1", "2", "3", "4")
ANSWERED_WITHIN_S = 300.0
SETTLED_WITHIN_S = 120.0
LONGEST_S = 0.5
"""From the moment when a request is seen, mostly; else from the start of the command."""
FAULTS = [signal.SIGKILL] * 6 + [signal.SIGTERM] * 3 + [None]
RESULTS = 3


@dataclass(frozen=True)
class Request:
    """One request of an operator, with its arguments of `vedette model …`, and the digest that it makes active."""

    arguments: tuple[str, ...]
    wanted: str | None
    as_root: bool


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    request: Request
    code: int
    answer: dict[str, Any]
    errors: str
    seconds: float

    def __str__(self) -> str:
        who = "as root" if self.request.as_root else "as the service"
        return f"{' '.join(self.request.arguments)} {who}: {self.code} {self.answer or self.errors}"


class Household:
    """A device whose daemon runs as the service's user, its models, and the operators' requests."""

    def __init__(self, device: Device, chance: random.Random) -> None:
        self.device = device
        self.chance = chance
        self.store = device.store()
        self.python = present(everyones_python())
        self.models = {hashlib.sha256(path.read_bytes()).hexdigest(): path
                       for path in (lamps.write(device.folder, version) for version in VERSIONS)}
        device.good(*list(self.models.values())[:2])
        give_away(device.folder / "state")

    def start(self) -> RunningDaemon:
        return RunningDaemon(self.device.folder, "--config", self.device.config, python=self.python, env=modules(),
                             **AS_USER)

    def random_request(self, state: StoreState) -> Request:
        """Return any request that is valid, or nearly."""
        acts = ("install", "install", "activate", *(("rollback",) * 2 if state.previous else ()))
        act, force = self.chance.choice(acts), self.chance.random() < 0.5
        as_root = self.chance.random() < 0.5
        if act == "rollback":
            return Request(("rollback",), state.previous.sha256 if state.previous else None, as_root)
        known = [model.sha256 for model in state.named] if act == "activate" else list(self.models)
        wanted = self.chance.choice(known)
        name = wanted if act == "activate" else str(self.models[wanted])
        return Request((act, name, *(("--force",) if force else ())), wanted, as_root)

    def ask(self, request: Request) -> Ended:
        began_s = time.monotonic()
        done = subprocess.run(
            [self.python, "-m", "vedette", "model", *request.arguments, "--json", "--config", self.device.config],
            text=True, capture_output=True, timeout=ANSWERED_WITHIN_S + 60, cwd=self.device.folder,
            env={**environment(self.device.folder), **modules()}, **({} if request.as_root else AS_USER))
        return Ended(request, done.returncode, json.loads(done.stdout or "{}"), done.stderr, time.monotonic() - began_s)

    def stage(self) -> str:
        """The stage of the request at this moment, as far as it is visible."""
        suffixes = {path.suffix for path in (self.store.folder / "requests").iterdir()}
        return "taken" if ".taken" in suffixes else "waiting" if suffixes else "not there"

    def settle(self, kept: KeptAlive) -> StoreState:
        """Wait until a daemon runs the state's model and no request waits; returns that state. Raises: AssertionError.
        """
        subscriber, since = self.device.subscriber, len(self.device.subscriber.received)

        def quiet() -> bool:
            active = self.store.read().active
            results = [message for message in subscriber.received[since:] if message.topic.endswith("/detections")]
            run = [json.loads(message.payload)["model"]["sha256"] for message in results[-RESULTS:]]
            model = subscriber.last(f"vedette/{DEVICE}/model")
            return (active is not None and run == RESULTS * [active.sha256] and model is not None
                    and json.loads(model.payload)["sha256"] == active.sha256 and self.stage() == "not there")
        assert wait_until(quiet, SETTLED_WITHIN_S), (self.store.read(), self.stage(), kept.log[-6000:])
        return self.store.read()


def one_round(house: Household, kept: KeptAlive) -> dict[str, Any]:
    """Send requests while the daemon is stopped or killed; returns what happened and every broken rule."""
    chance, before = house.chance, house.settle(kept)
    requests = [house.random_request(before) for _ in range(2 if chance.random() < 0.15 else 1)]
    fault, early = chance.choice(FAULTS), chance.random() < 0.15
    ends = len(kept.ends)
    ended: list[Ended] = []
    if early:
        kept.signal(fault or signal.SIGTERM)
    threads = [threading.Thread(target=lambda one=one: ended.append(house.ask(one))) for one in requests]
    for thread in threads:
        thread.start()
    stage = "before"
    if not early:
        if chance.random() < 0.75:
            wait_until(lambda: house.stage() != "not there" or not any(thread.is_alive() for thread in threads))
        threading.Event().wait(chance.uniform(0, LONGEST_S))
        stage = house.stage() if any(thread.is_alive() for thread in threads) else "over"
        if fault is not None and not kept.signal(fault):
            fault = None
    for thread in threads:
        thread.join()
    if fault is not None or early:
        assert kept.waits_for_ends(ends + 1), kept.log[-3000:]
    after = house.settle(kept)
    wrong = violations(house, before, after, ended) + untidy(house, after)
    return {"acts": [one.request.arguments[0] for one in ended], "codes": [one.code for one in ended], "at": stage,
            "fault": fault.name if fault else "none", "seconds": round(max(one.seconds for one in ended), 2),
            "instead": sum("no daemon runs" in one.answer.get("words", "") for one in ended),
            "done_before": sum("ended before it could say" in one.answer.get("words", "") for one in ended),
            "crash_loop": gave_up(after, present(before.active).sha256), "wrong": wrong}


def violations(house: Household, before: StoreState, after: StoreState, ended: list[Ended]) -> list[str]:
    """Compare the commands' answers with the state."""
    answers = (0, 65) if len(ended) == 1 else (0, 64, 65)      # the other may have let go of what this one names
    wrong = [f"not answered: {one}" for one in ended if one.code not in answers or "Traceback" in one.errors]
    done = [one for one in ended if one.code == 0]
    allowed = {one.request.wanted for one in done}
    if len(ended) > 1:       # in either order: a rollback then depends on the other
        allowed |= {model.sha256 for model in before.named}
    elif not done:
        allowed = {present(before.active).sha256}
        wrong += [f"refused without its reason: {one}" for one in ended if not reasonable(one, before, after)]
    elif done[0].answer["active"]["sha256"] != done[0].request.wanted:
        wrong.append(f"said something else: {done[0]}")
    given_up = [sha256 for sha256 in (*allowed, present(before.active).sha256) if gave_up(after, sha256)]
    if present(after.active).sha256 not in allowed and not given_up:
        wrong.append(f"{' and '.join(map(str, ended))}: then {present(after.active).sha256} runs; before: {before!r}")
    return wrong


def gave_up(after: StoreState, sha256: str | None) -> bool:
    refused = None if sha256 is None else after.refusal_of(sha256)
    return refused is not None and "crashes" in refused.why


def reasonable(one: Ended, before: StoreState, after: StoreState) -> bool:
    message, wanted = one.answer.get("words", ""), one.request.wanted
    looped = gave_up(after, present(before.active).sha256)
    return {"no previous model": before.previous is None or looped,
            "refused before": bool(wanted and (before.refusal_of(wanted) or after.refusal_of(wanted))),
            "not in the store": wanted not in {model.sha256 for model in after.named},
            }.get(message.partition(":")[0], False)


def untidy(house: Household, after: StoreState) -> list[str]:
    """Name every file that is incomplete, left over, or not owned by the service's user."""
    folder = house.store.folder
    wrong = [f"{path} belongs to {status.st_uid}:{status.st_gid}" for path in (folder.parent, *folder.parent.rglob("*"))
             if ((status := path.lstat()).st_uid, status.st_gid) != (USER, USER)]
    wrong += [f"{model.sha256} is damaged" for model in after.named
              if hashlib.sha256(house.store.path_of(model.sha256).read_bytes()).hexdigest() != model.sha256]
    left = {path.name for place in ("requests", "answers", "incoming") for path in (folder / place).iterdir()}
    strangers = {path.stem for path in folder.glob("*.tflite")} - {model.sha256 for model in after.named}
    cut_short = {name for name in left if name.endswith(".tmp")}
    if len(cut_short) == 1:     # an answer that a kill cut short; the next one sees to it
        left -= cut_short
    return [*wrong, *(f"left behind: {name}" for name in sorted(left | strangers))]


@contextmanager
def household(chance: random.Random) -> Iterator[Household]:
    with tempfile.TemporaryDirectory() as name, device_in(Path(name)) as device:
        device.folder.chmod(0o755)
        yield Household(device, chance)


def campaign(count: int, state: Path, seed: int) -> list[dict[str, Any]]:
    rounds = json.loads(state.read_text()) if state.exists() else []
    state.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed + len(rounds))
    with ExitStack() as stack:
        house = stack.enter_context(household(chance))
        kept = stack.enter_context(KeptAlive(house.start, lambda: chance.uniform(0, 1)))
        while len(rounds) < count:
            rounds.append(one_round(house, kept))
            print(f"{len(rounds)}/{count} {rounds[-1]}", file=sys.stderr, flush=True)
            state.write_text(json.dumps(rounds))
    return rounds


def figures(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    killed = [one for one in rounds if one["fault"] == "SIGKILL"]
    return {"rounds": len(rounds), "requests": sum(len(one["codes"]) for one in rounds),
            "codes": Counter(str(code) for one in rounds for code in one["codes"]),
            "acts": Counter(act for one in rounds for act in one["acts"]),
            "faults": Counter(one["fault"] for one in rounds), "killed_while": Counter(one["at"] for one in killed),
            "acted_without_daemon": sum(one["instead"] for one in rounds),
            "done_before": sum(one["done_before"] for one in rounds),
            "given_up_for_crashes": sum(one["crash_loop"] for one in rounds),
            "slowest_s": max(one["seconds"] for one in rounds),
            "wrong": [fault for one in rounds for fault in one["wrong"]]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="rounds")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--state", type=Path, default=Path(".campaign/hands.json"))
    args = parser.parse_args()
    if missing():
        print(json.dumps({"skipped": missing(), "wrong": []}))
        return 0
    ended = figures(campaign(args.count, args.state, args.seed))
    print(json.dumps(ended))
    return 1 if ended["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
