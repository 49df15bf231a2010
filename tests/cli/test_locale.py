"""Output in a locale that cannot say a character: the command goes on, and writes an escape in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import writer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_that_the_stream_cannot_say(tmp_path: Path, encoding: str) -> None:
    """An umlaut, an emoji and a name that is no UTF-8 at all: each is printed, and nothing is raised."""
    for name in ("Küche.tflite", "📷.tflite", os.fsdecode(b"\xff.tflite")):
        path = tmp_path / name
        path.write_bytes(writer.with_zip(writer.logistic(), {"labels.txt": "Tür\n猫\n".encode()}))
        done = subprocess.run([sys.executable, "-m", "vedette", "model", "inspect", path], capture_output=True,
                              timeout=240, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert b"Traceback" not in done.stderr, done.stderr
        assert b".tflite" in done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_help_can_be_said(encoding: str) -> None:
    """`--help` of every command."""
    code = ("from vedette.cli import COMMANDS, main\nimport contextlib\n"
            "for name in COMMANDS:\n    with contextlib.suppress(SystemExit):\n"
            "        main([*name.split(), '--help'])\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=240,
                          env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_json_stays_json() -> None:
    """An escape in place of a character is one that JSON has."""
    name = "T\u00fcr \U0001f4f7"
    done = subprocess.run([sys.executable, "-m", "vedette", "check-config", "--json"], capture_output=True, timeout=240,
                          env={**os.environ, "PYTHONIOENCODING": "ascii", "VEDETTE_MQTT__USERNAME": name})
    assert json.loads(done.stdout)["config"]["mqtt"]["username"] == name
