"""The guide's module for another update agent, run as that agent runs it, with the real command and no daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon.running import environment, vedette
from tests.support.models import lamps
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed

pytestmark = pytest.mark.slow

GUIDE = (Path(__file__).parents[2] / "docs/fleet.md").read_text(encoding="utf-8")


class Agent:
    """Calls the module with a state and a folder of its own for each artifact."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._module = folder / "vedette-model"
        self._module.write_text(re.findall(r"```bash\n(#!/bin/sh\n.*?)```", GUIDE, re.DOTALL)[0])
        (folder / "config.yaml").write_text("update: {require_signed: false}\n")
        command = folder / "bin/vedette"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vedette "$@" --config {folder}/config.yaml\n')
        for program in (command, self._module):
            program.chmod(0o755)
        (folder / "state").mkdir()

    def artifact(self, name: str, model: bytes) -> Path:
        place = self._folder / name
        for each in ("files", "tmp"):
            (place / each).mkdir(parents=True)
        (place / "files/model.tflite").write_bytes(model)
        return place

    def mark_good(self, model: Path) -> None:
        """Mark this model as good on this device."""
        store = ModelStore(self._folder / "state/models")
        store.recover()
        sha256, size = store.stage(model, None, limit_bytes=1 << 20)
        installed = Installed(sha256=sha256, size=size, name="lamps", version="1")
        store.change(store.state.activated(installed, datetime.now(UTC), on_trial=False))

    def call(self, state: str, artifact: Path) -> tuple[int, str]:
        env = environment(self._folder)
        done = subprocess.run([self._module, state, artifact], capture_output=True, text=True, timeout=120,
                              env={**env, "PATH": f"{self._folder}/bin:{os.environ['PATH']}"})
        return done.returncode, done.stdout

    def active(self) -> str:
        output = vedette("model", "list", "--json", folder=self._folder, timeout_s=120).stdout
        return str(json.loads(output)["active"]["version"])


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_mender_update_module(agent: Agent, tmp_path: Path) -> None:
    """It installs and rolls back, once; a refused model removes no good one; unknown states are ignored."""
    good, two = lamps.write(tmp_path, "1"), lamps.write(tmp_path, "2").read_bytes()
    agent.mark_good(good)
    second = agent.artifact("second", two)
    assert agent.call("SupportsRollback", second) == (0, "Yes\n")
    assert agent.call("Download", second) == (0, "")
    assert agent.call("ArtifactInstall", second)[0] == 0
    assert agent.active() == "2"
    broken = agent.artifact("broken", two[:1000])
    assert agent.call("ArtifactInstall", broken)[0] == 65
    assert agent.call("ArtifactRollback", broken) == (0, "")
    assert agent.active() == "2"
    assert agent.call("ArtifactRollback", second)[0] == 0
    assert agent.call("ArtifactRollback", second) == (0, "")
    assert agent.active() == "1"
