"""The daemon and its commands as the service's user, `nobody`, with an interpreter that every user may read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

USER = 65534
AS_USER: Mapping[str, Any] = {"user": USER, "group": USER, "extra_groups": []}
"""What makes a child of root that user's (subprocess.Popen)."""


def everyones_python() -> str | None:
    """An interpreter like this one that every user may run; None if there is none."""
    if all(parent.stat().st_mode & 0o001 for parent in Path(os.__file__).parents):
        return sys.executable
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return str(system) if system.exists() else None


def modules() -> dict[str, str]:
    """The variable with which that interpreter finds the modules that this one finds."""
    places = [place for place in sys.path if place and not place.startswith(sys.base_prefix)]
    return {"PYTHONPATH": os.pathsep.join(places)}


def missing() -> str | None:
    """Why no process can run as another user here, or None."""
    if os.geteuid() != 0:
        return "only root can become somebody else"
    return None if everyones_python() else f"{Path(os.__file__).parent} is closed to others, as every Python like it"
