"""Campaign `mutants_of_ours`: breaks our own code one line at a time, and lists what no test notices.

    .venv/bin/python tests/campaign/mutants_of_ours.py --state .campaign/mutants_of_ours.json

`mutants_of_ours.toml` is the table of mutants, chosen by the invariants at the top of the modules. Each is applied in a
copy of the tree, whose environment imports the copy. Then the tests that should notice are run there: it is killed if
one fails or takes too long, else it survives. The copy has no shared inputs beside it, like a fresh clone. Tests that
fail without any mutant are told. Resumable: a mutant is run again once its file or its tests have changed. It prints a
row for each mutant, and one JSON line at the end; 1 if one survives that the table does not call equivalent.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tomllib
import venv
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.daemon.signals import reset_in_children

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_suffix(".toml")
PACKAGE = Path("daemon", "vedette")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build")
CLEAN_LIMIT_S, LEAST_LIMIT_S, LIMIT_TIMES = 600.0, 30.0, 5.0
"""A mutant's tests may take LIMIT_TIMES as long as without it, and LEAST_LIMIT_S longer."""
END_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module. `file` is relative to the package, `tests` to the folder of the tests.

    `breaks` says what no longer holds. `equivalent`: why nothing changes for anybody, so that no test can notice.
    """

    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.breaks}"

    def digest(self, root: Path) -> str:
        """Return a key for its outcome: it changes with the mutant, its file and its tests."""
        digest = hashlib.sha256(repr((self.old, self.new, self.tests)).encode())
        for path in self.paths(root):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def paths(self, root: Path) -> list[Path]:
        """Return the file that is broken, and those of the tests."""
        return [root / PACKAGE / self.file, *(root / "tests" / test.partition("::")[0] for test in self.tests)]

    def problem(self, root: Path) -> str | None:
        """Return why the table has to be corrected, or None."""
        if absent := [path for path in self.paths(root) if not path.is_file()]:
            return f"there is no {absent[0].relative_to(root)}"
        found = (root / PACKAGE / self.file).read_text().count(self.old)
        if found != 1:
            return f"the old text occurs {found} times, expected once"
        return "old and new text are the same" if self.old == self.new else None


def table(path: Path = TABLE) -> tuple[Mutant, ...]:
    """Return every mutant."""
    rows = tomllib.loads(path.read_text())["mutant"]
    return tuple(Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows)


class Copy:
    """A copy of the tree with an environment of its own. One thread."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        folder.chmod(0o711)     # some tests hand a folder to another user
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT)
        venv.create(self.root / ".venv", symlinks=True)
        # The other environment's own .pth files are not read from there: they would lead back to the checkout.
        places = sysconfig.get_paths(vars={"base": str(self.root / ".venv")})
        Path(places["purelib"], "copy.pth").write_text(
            "\n".join((str(self.root / "daemon"), str(self.root), *{sysconfig.get_path("purelib"),
                                                                   sysconfig.get_path("platlib")})) + "\n")
        self._written_s = int(time.time())

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """Apply the mutant for a while."""
        path = self.root / PACKAGE / mutant.file
        text = path.read_text()
        self._write(path, text.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        # Python compiles a module again only if its size or its whole second of change differs.
        self._written_s += 2
        path.write_text(text)
        os.utime(path, (self._written_s, self._written_s))

    def passes(self, tests: tuple[str, ...], limit_s: float) -> bool:
        """Run tests to the first failure; returns whether all of them pass in time."""
        env = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "COV"))}
        env["PYTEST_DEBUG_TEMPROOT"] = str(self.root.parent)    # pytest's numbered folders fail where many runs begin
        with subprocess.Popen(
                [self.root / ".venv/bin/python", "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:randomly",
                 *(f"tests/{test}" for test in tests)], cwd=self.root, env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            try:
                return running.wait(limit_s) == 0
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGINT)      # some tests mount a disk, and unmount it at their end
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(END_WITHIN_S)
                return False
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)


class Campaign:
    """Runs mutants, each in a free copy, and saves their outcomes in the state file."""

    def __init__(self, state: Path, copies: list[Copy]) -> None:
        self._state = state
        self._outcomes: dict[str, dict[str, Any]] = json.loads(state.read_text()) if state.exists() else {}
        self._copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in copies:
            self._copies.put(copy)
        self._lock = threading.Lock()
        self._clean_s: dict[str, float | None] = {}
        self._cleaning: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def outcome(self, mutant: Mutant) -> dict[str, Any]:
        """Return `killed`, `survived` or `unsound` (the tests fail anyway) under `is`, and the `seconds` it took."""
        found = self._outcomes.get(mutant.digest(ROOT))
        if found is None:
            copy = self._copies.get()
            try:
                found = self._run(mutant, copy)
            finally:
                self._copies.put(copy)
            with self._lock:        # the checkout may have changed meanwhile, the copy has not
                self._outcomes[mutant.digest(copy.root)] = found
                self._state.parent.mkdir(parents=True, exist_ok=True)
                self._state.write_text(json.dumps(self._outcomes))
        return found

    def _run(self, mutant: Mutant, copy: Copy) -> dict[str, Any]:
        began_s = time.monotonic()
        clean_s = [self._clean(test, copy) for test in mutant.tests]
        outcome = "unsound"
        if None not in clean_s:
            with copy.broken(mutant):
                survives = copy.passes(mutant.tests, LEAST_LIMIT_S + LIMIT_TIMES * sum(filter(None, clean_s)))
            outcome = "survived" if survives else "killed"
        return {"mutant": str(mutant), "is": outcome, "seconds": round(time.monotonic() - began_s, 1)}

    def _clean(self, test: str, copy: Copy) -> float | None:
        """Return how long one of the tests takes without a mutant; None if it fails."""
        with self._cleaning[test]:
            if test not in self._clean_s:
                began_s = time.monotonic()
                self._clean_s[test] = time.monotonic() - began_s if copy.passes((test,), CLEAN_LIMIT_S) else None
            return self._clean_s[test]


def ruling(mutant: Mutant, outcome: str) -> str:
    """Return what the table of results says. A mutant that is called equivalent and killed is none."""
    if outcome == "unsound":
        return "unsound"
    if mutant.equivalent is None:
        return "SURVIVED" if outcome == "survived" else "killed"
    return "equivalent" if outcome == "survived" else "NO EQUIVALENT"


def main() -> int:
    """Run the campaign; returns 1 for a survivor without a reason, a wrong reason, or tests that fail anyway."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutant", action="append", help="only those whose file or text contains this; repeatable")
    parser.add_argument("--table", type=Path, default=TABLE, help="another table")
    parser.add_argument("--workers", type=int, default=1, help="so many at a time")
    parser.add_argument("--state", type=Path, default=Path(".campaign/mutants_of_ours.json"))
    args = parser.parse_args()
    reset_in_children()     # a run of tests ends by SIGINT
    mutants = [mutant for mutant in table(args.table)
               if args.mutant is None or any(part in str(mutant) for part in args.mutant)]
    if wrong := [f"{mutant}: {problem}" for mutant in mutants if (problem := mutant.problem(ROOT))]:
        sys.exit("\n".join(wrong))
    rulings: dict[str, list[Mutant]] = {}
    seconds = 0.0
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(args.workers) as pool:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True))
                   for _ in range(args.workers)]
        campaign = Campaign(args.state, [Copy(Path(folder)) for folder in folders])
        for mutant, outcome in zip(mutants, pool.map(campaign.outcome, mutants), strict=True):
            ruled = ruling(mutant, outcome["is"])
            rulings.setdefault(ruled, []).append(mutant)
            seconds += outcome["seconds"]
            reason = f" ({mutant.equivalent})" if ruled == "equivalent" else ""
            print(f"{ruled:14}{outcome['seconds']:6.1f} s  {mutant}{reason}", file=sys.stderr, flush=True)
    told = {ruled: list(map(str, rulings.get(ruled, ()))) for ruled in ("SURVIVED", "NO EQUIVALENT", "unsound")}
    print(json.dumps({
        "campaign": "mutants_of_ours", "mutants": len(mutants), "killed": len(rulings.get("killed", ())),
        "equivalent": len(rulings.get("equivalent", ())), "survivors": told["SURVIVED"],
        "wrongly_equivalent": told["NO EQUIVALENT"], "unsound": told["unsound"], "seconds": round(seconds, 1)}))
    return 1 if any(told.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
