"""The composition root: no part with live keys or with reasons is left out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette.app import Daemon, Options
from vedette.config.load import read
from vedette.config.reload import Reloader
from vedette.device.identity import StateFolder


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is built and never started."""
    state = StateFolder(tmp_path / "state")
    daemon = Daemon(Options(None, {}), read(None, overrides={"camera.source": "synthetic"}), state)
    try:
        yield daemon
    finally:
        for part in reversed(daemon.parts()):
            part.stop()     # the capture child is there before anything is started
        state.close()


UNUSED = ("numpy", "cv2", "ai_edge_litert", "tflite_runtime", "tuf", "securesystemslib", "urllib3", "cryptography",
          "av", "http.server", "asyncio", "vedette.serve.server", "vedette.serve.service", "vedette.fleet",
          "vedette.update.source", "vedette.update.origin", "vedette.net.http_client", "vedette.fallback.motion",
          "vedette.fallback.cloud_worker")
"""What a daemon needs only with a model, an update source, a fallback or a command, or never."""


@pytest.mark.slow
def test_a_daemon_imports_only_what_it_uses(tmp_path: Path) -> None:
    """A daemon that is built from the defaults has loaded nothing of updates, of fallbacks, and of the detector."""
    code = ("import sys; from pathlib import Path; from vedette.app import Daemon, Options; "
            "from vedette.config.load import read; from vedette.device.identity import StateFolder; "
            "state = StateFolder(Path(sys.argv[1])); "
            "daemon = Daemon(Options(None, {}), read(None, overrides={'camera.source': 'synthetic'}), state); "
            "[part.stop() for part in reversed(daemon.parts())]; "
            f"print([name for name in {UNUSED} if name in sys.modules])")
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "state"], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_reload_reaches_every_part_with_live_keys(daemon: Daemon) -> None:
    """A part that is missing in the tuple would keep its old values."""
    parts = (*daemon._reloader.parts, *daemon._reloader.lasting_parts)
    wanted = {name for name, part in vars(daemon).items() if hasattr(part, "reload") and not isinstance(part, Reloader)}
    reached = {name for name, part in vars(daemon).items() if any(part is each for each in parts)}
    assert wanted == reached
    assert len(wanted) == len(parts)


def test_health_asks_every_part_with_reasons(daemon: Daemon) -> None:
    """A missing part would fail without a reason in health. The outbox reports through the broker."""
    wanted = {name for name, part in vars(daemon).items() if hasattr(part, "reasons")} - {"_spool_worker"}
    asked = {name for name, part in vars(daemon).items() if any(part is each for each in daemon._sources)}
    assert wanted == asked
    assert len(wanted) == len(daemon._sources)
