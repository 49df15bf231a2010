"""Runs another program of the workshop: pip, an exporter, a converter.

Invariants: all that the program writes is in its log, and `progress` gets the lines that are worth reading; the
program dies with this process, also by SIGKILL, so it never writes into what a later run builds; it sees no module of
the current folder and none of this process' environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Progress = Callable[[str], None]
"""Takes one line without a newline, for a person who waits."""

_DIES_WITH_US = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_ERROR = re.compile(r"^(?:\s*(?:ERROR|error)\b:?\s*|(?:[\w.]*(?:Error|Exception)): )")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CHARS_MAX = 300


def run(command: Sequence[str | Path], log: Path, heard: Progress, folder: Path | None = None) -> int:
    """Run a program to its end in `folder` and return its exit code, or -n for signal n.

    Its output is appended to `log`, and `heard` gets each line. Call it from a thread that lives as long.
    Raises: OSError, where it cannot be started or logged.
    """
    program = str(command[0])
    guarded = [sys.executable, "-I", "-c", _DIES_WITH_US, str(os.getpid()), *map(str, command)]
    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {' '.join(map(str, command))}\n")
        file.flush()
        child = subprocess.Popen(guarded, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 cwd=folder, env=_environ(Path(program).parent), encoding="utf-8", errors="replace")
        try:
            for line in child.stdout or ():
                clean = _ESCAPES.sub("", line).rstrip().rpartition("\r")[2]
                file.write(f"{clean}\n")
                file.flush()
                heard(clean)
            return child.wait()
        finally:
            child.kill()        # nothing, where it has ended
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def reason(log: Path) -> str:
    """Return the line of a log that says best why its program failed: its last error, else its last line."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text("utf-8", "replace").rpartition("\n$ ")[2].splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        if last := (errors or lines)[-1:]:
            return last[0].strip()[:_CHARS_MAX]
    return "it wrote nothing"


def _environ(programs: Path) -> dict[str, str]:
    """Return our environment without what would change the program's Python, and with its own programs first."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"}
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "PYTHONUNBUFFERED": "1"}
