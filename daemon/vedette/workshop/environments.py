"""The tools' own Python environments: their versions conflict, so never are two tools in one environment.

Invariants: the name of an environment has the digest of its pinned requirements, so new pins get a new one. An
environment that is there is used without the network. `once` keeps it whole: `<cache>/environments/onnx2tf-<digest>`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vedette.errors import ToolMissing
from vedette.workshop.once import DIGITS, cache, made
from vedette.workshop.tool import Progress, reason, run

REQUIREMENTS = Path(__file__).with_name("requirements")
_LOOK_S = 60.0
_PIP = ("-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
        "--no-compile", "--only-binary", ":all:", "-r")     # compiling all is half of the work, and little is used
_VERSION = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Needs:
    """What a tool's environment needs: one of these Pythons, and about so many megabytes."""

    pythons: tuple[str, ...]
    megabytes: int


TOOLS = {
    "onnx": Needs(("3.11", "3.12", "3.13"), 175),
    "torch": Needs(("3.11", "3.12", "3.13"), 813),
    "onnx2tf": Needs(("3.12", "3.13"), 544),
    "litert-torch": Needs(("3.11", "3.12", "3.13"), 1803),
    "tensorflow": Needs(("3.11", "3.12", "3.13"), 2035),
    "ultralytics": Needs(("3.11", "3.12", "3.13"), 2252),
}


def python_of(tool: str, progress: Progress, *, requirements: Path = REQUIREMENTS) -> Path:
    """Return the Python of a tool's own environment. A missing one is made, which takes minutes and the network.

    pip's own settings hold, such as PIP_NO_INDEX and PIP_FIND_LINKS for a folder of wheels. `requirements` has a file
    TOOL.txt for the tool. Raises: ToolMissing, which names the log.
    """
    pinned = requirements / f"{tool}.txt"
    home = cache() / "environments"
    try:
        link = made(home / f"{tool}-{digest(tool, requirements)}", "bin/python", partial(_make, tool, pinned, progress),
                    partial(progress, f"{tool}: another command makes its environment; waiting for it"))
    except OSError as error:
        raise ToolMissing(f"{tool}: its environment cannot be made in {home}: {error.strerror or error}") from error
    return link / "bin" / "python"


def digest(tool: str, requirements: Path = REQUIREMENTS) -> str:
    """Return what stands for the pinned versions of a tool on this kind of machine."""
    pinned = (requirements / f"{tool}.txt").read_bytes()
    return hashlib.sha256(pinned + platform.machine().encode()).hexdigest()[:DIGITS]


def _make(tool: str, pinned: Path, progress: Progress, folder: Path) -> None:
    log = folder.with_name(f"{tool}.log")
    log.unlink(missing_ok=True)
    needs = TOOLS[tool]
    python, uv = _python(needs.pythons), _uv()
    advice = "" if python else (f"; it needs Python {' or '.join(needs.pythons)} with its venv module, as apt's "
                                f"python{needs.pythons[0]}-venv, or uv, which fetches a Python (pip install uv)")
    if python is None and uv is None:
        raise ToolMissing(f"{tool}: its environment cannot be made{advice}")
    progress(f"{tool}: making its environment, once: about {needs.megabytes} MB in {folder.parent}")
    inner = folder / "bin" / "python"
    if python is not None:
        steps = [[python, "-I", "-m", "venv", folder], [inner, *_PIP, pinned]]
    else:
        steps = [[uv, "venv", "--clear", "--python", needs.pythons[0], folder],
                 [uv, "pip", "install", "--python", inner, "--only-binary", ":all:", "-r", pinned]]
    if not all(run([str(part) for part in step], log, _Steps(tool, progress)) == 0 for step in steps):
        raise ToolMissing(f"{tool}: its environment cannot be made: {reason(log)}{advice}; the log is {log}")


class _Steps:
    """Passes on which package pip fetches or installs."""

    def __init__(self, tool: str, progress: Progress) -> None:
        self._tool, self._progress = tool, progress

    def __call__(self, line: str) -> None:
        words = line.split()
        if words[:1] == ["Downloading"]:
            self._progress(f"{self._tool}: downloading {words[1].rpartition('/')[2]} {' '.join(words[2:])}".strip())
        elif words[:1] == ["Installing"]:
            self._progress(f"{self._tool}: installing {len(words) - 3} packages")


def _python(versions: tuple[str, ...]) -> Path | None:
    """Return a Python of one of these versions that can make environments: this one, else the first that is found."""
    homes = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path(os.environ.get("HOME") or "/", ".pyenv"))
    candidates = [Path(sys.base_prefix, "bin", f"python{version}") for version in versions]
    for version in versions:
        candidates += [folder / f"python{version}" for folder in (*homes, Path("/usr/bin"), Path("/usr/local/bin"))]
        candidates += sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))
    return next((found for found in dict.fromkeys(candidates) if found.exists() and _can_make(found, versions)), None)


def _can_make(python: Path, versions: tuple[str, ...]) -> bool:
    """Whether it runs, has a version that fits, and has venv and ensurepip, which Debian packages apart."""
    try:
        done = subprocess.run([python, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=_LOOK_S,
                              check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() in versions


def _uv() -> Path | None:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    return Path(found) if found else None
