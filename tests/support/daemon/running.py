"""The real daemon as a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until


def environment(folder: Path) -> dict[str, str]:
    """A clean environment with a state folder of its own, and coverage where the test run has it."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE", "COV_"))}
    return {**kept, "STATE_DIRECTORY": str(folder / "state"), "PYTHONUNBUFFERED": "1"}


def vedette(*args: str | Path, folder: Path, env: dict[str, str] | None = None,
            timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([sys.executable, "-m", "vedette", *map(str, args)], capture_output=True, text=True,
                          timeout=timeout_s, env={**environment(folder), **(env or {})}, cwd=folder)


class RunningDaemon:
    """`vedette run`, with what it prints collected. `program`: a daemon with faults built in; `how`: see Popen."""

    def __init__(self, folder: Path, *args: str | Path, env: dict[str, str] | None = None,
                 program: Sequence[str] = ("-m", "vedette", "run"), python: str = sys.executable,
                 **how: Any) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [python, *program, *map(str, args)], text=True, cwd=folder, **how, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**environment(folder), **(env or {})})
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [threading.Thread(target=self._collect, args=pair)
                         for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        for thread, stream in zip(self._threads, (self.process.stdout, self.process.stderr), strict=True):
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "another process has its output open"     # to close it would wait for ever
            assert stream is not None
            stream.close()

    @property
    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in tuple(self.lines)]

    @property
    def log(self) -> str:
        return "".join(self.errors)

    def child_pid(self) -> int:
        """Process id of the capture child; the kernel lists children under the thread that started them."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return next(int(pid) for task in tasks for pid in task.read_text().split())

    def footprint(self) -> dict[str, int]:
        """What the kernel counts for the process: resident memory, threads, descriptors, children."""
        process = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        children = [pid for task in process.glob("task/*/children") for pid in task.read_text().split()]
        return {"rss_kb": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]),
                "fds": len(list((process / "fd").iterdir())), "children": len(children)}

    def waits_for_results(self, count: int, within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: len(self.lines) >= count or self.process.poll() is not None, within_s) \
            and len(self.lines) >= count

    def waits_for_log(self, text: str, within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: text in self.log, within_s)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, within_s: float = PATIENCE_S) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(within_s)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        return code

    @staticmethod
    def _collect(stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line)  # noqa: PERF402 - others read the list while it grows
