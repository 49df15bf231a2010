"""The operator's guide is correct: its commands run in its order and give the results that it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import send
from tests.support.daemon.running import environment
from tests.support.models import tiny_detectors
from tests.support.models.bundles import picture
from tests.support.network.http_server import serving_folder
from tests.support.network.operators import Device
from vedette.cli import COMMANDS, main

pytestmark = pytest.mark.slow

GUIDE = (Path(__file__).parents[2] / "docs/fleet.md").read_text(encoding="utf-8")


NIGHT = re.findall(r"^```yaml\n(detector: .*?)^```", GUIDE, re.MULTILINE | re.DOTALL)[0]


def commands() -> list[str]:
    """Each line of the guide's `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The operator's folder: three bundles, a configuration, and `vedette` as a command."""
    for number in (3, 4, 5):
        folder = tmp_path / f"made-{number}"
        folder.mkdir()
        # A threshold of its own makes each file another one.
        assert main(["model", "pack", str(tiny_detectors.write(folder)), "--name", "street", "--version", str(number),
                     "--golden", str(picture(folder)), "--score-threshold", f"0.3{number}",
                     "-o", str(tmp_path / f"street-{number}.tflite")]) == 0
    (tmp_path / "night.yaml").write_text(NIGHT, encoding="utf-8")
    command = tmp_path / "bin/vedette"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vedette "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_the_guide_from_its_first_command_to_its_last(desk: Path) -> None:
    """Every command ends with 0; a device that exists from the beginning sees the final releases."""
    released: list[set[int]] = []
    with running(desk) as broker, serving_folder(desk / "www") as web:
        send(broker.client(), "vedette/gate-01/availability", b"online", retain=True)
        device = None
        for line in commands():
            done = subprocess.run(["bash", "-euc", line.replace("broker.example", f"127.0.0.1 --port {broker.port}")],
                                  cwd=desk, env={**environment(desk), "PATH": f"{desk / 'bin'}:{os.environ['PATH']}"},
                                  capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            if line.endswith("publish fleet www"):
                device = device or Device(desk / "device", web.url, (desk / "fleet/root.json").read_bytes())
                released.append(set(device.releases()))
            elif " watch " in line:
                shown = "1 device, 1 online" if "--summary" in line else "gate-01                      online"
                assert shown in done.stdout
            elif "--host" in line:
                assert "known devices: 1" in done.stdout
    assert [numbers for number, numbers in enumerate(released) if numbers not in released[:number]] == [
        {1}, {1, 2}, {1, 2, 3, 4}, {1, 2, 5}, {1, 2, 5, 6}]
    assert released[-1] == {1, 2}
    assert not list((desk / "fleet/keys").glob("root-*"))
    timestamp = json.loads((desk / "stick/models/metadata/timestamp.json").read_bytes())
    assert timestamp["signed"]["version"] > len(released)


def test_the_guide_names_every_command_of_the_fleet() -> None:
    """It names no command or option that does not exist."""
    shown = "\n".join([*commands(), *re.findall(r"^\$ (.*)", GUIDE, re.MULTILINE)])
    named = set(re.findall(r"vedette (fleet [a-z-]+)", shown))
    assert named == {name for name in COMMANDS if name.startswith("fleet ")}
