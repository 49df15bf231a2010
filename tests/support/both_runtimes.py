"""An environment in which both TFLite runtimes can be imported, made of what `make setup` and `make setup-tflite` left.

It is the Python of .venv-tflite, whose numpy suits both runtimes, with a folder that links to the LiteRT of .venv.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "ai_edge_litert"
_SLOW = """
import importlib.util, time

_spec = importlib.util.spec_from_file_location("ai_edge_litert.true_interpreter", {path!r})
_true = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_true)

class _Slow:
    def __init__(self, true): self._true = true
    def __getattr__(self, name): return getattr(self._true, name)
    def Invoke(self):
        end_s = time.thread_time() + {seconds}
        while time.thread_time() < end_s: pass
        return self._true.Invoke()

class Interpreter(_true.Interpreter):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._interpreter = _Slow(self._interpreter)
"""


@dataclass(frozen=True, slots=True)
class BothRuntimes:
    """The Python that has both, and the environment variables it needs."""

    python: Path
    environ: dict[str, str]

    def run(self, *arguments: str, timeout_s: float = 240.0) -> str:
        """Run Python with these arguments; returns what it printed."""
        return subprocess.run([self.python, *arguments], env=self.environ, check=True, capture_output=True, text=True,
                              timeout=timeout_s).stdout


def both_runtimes(folder: Path, *, slower_litert_s: float = 0.0) -> BothRuntimes | None:
    """Return such an environment, with its links in `folder`; None where one of the two is not there.

    With `slower_litert_s`, LiteRT computes the same but each invoke takes so much more processor time.
    This stands for a processor on which it is the slower one.
    """
    python = ROOT / ".venv-tflite" / "bin" / "python"
    litert = next(ROOT.glob(f".venv/lib/python3.11/site-packages/{PACKAGE}"), None)
    if litert is None or not python.exists():
        return None
    package = folder / PACKAGE
    package.mkdir(parents=True)
    for path in litert.iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    if slower_litert_s:
        (package / "interpreter.py").unlink()
        (package / "interpreter.py").write_text(_SLOW.format(path=str(litert / "interpreter.py"),
                                                             seconds=slower_litert_s))
    return BothRuntimes(python, {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"})
