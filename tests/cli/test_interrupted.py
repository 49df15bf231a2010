"""Ctrl-C at the very beginning, while a command's modules are being loaded."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon.running import environment
from tests.support.waiting.bounded_popen import BoundedPopen

pytestmark = pytest.mark.slow

# A signal in the middle of a weak reference's callback, where exceptions are printed and forgotten.
IN_A_CALLBACK = """
import os, signal, sys, weakref
class Thing: pass
def hook(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
        del thing
sys.addaudithook(hook)
"""
# The interpreter calls an audit hook for every import that begins: the same moment in every run, without a clock.
INTERRUPTING = """
import os, signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
"""
COMMAND = Path(sys.executable).with_name("vedette")
RUN = ("run", "--source", "synthetic")


@pytest.mark.daemon
@pytest.mark.parametrize("module", ["vedette.cli", "argparse", "vedette.errors", "vedette.cli.arguments", "vedette.app",
                                    "yaml", "pydantic"])
@pytest.mark.parametrize("program", [[sys.executable, "-m", "vedette"], [COMMAND]], ids=["module", "command"])
def test_an_early_interrupt_ends_quietly(tmp_path: Path, program: list[str | Path], module: str) -> None:
    """The exit code is 130 and there is no output, least of all a traceback."""
    ended = interrupted(tmp_path, [*program, *RUN], INTERRUPTING, module)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.daemon
def test_an_interrupt_during_an_import_is_not_lost(tmp_path: Path) -> None:
    """The import system runs callbacks in which a KeyboardInterrupt would be lost."""
    ended = interrupted(tmp_path, [sys.executable, "-m", "vedette", *RUN], IN_A_CALLBACK, "pydantic")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_later_interrupt_ends_a_command_in_order(tmp_path: Path) -> None:
    """While a command works, Ctrl-C is an exception: `tail` disconnects from the broker."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        command = [sys.executable, "-m", "vedette", "tail", "--port", str(broker.getsockname()[1])]
        with BoundedPopen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                          env=environment(tmp_path)) as tail:
            broker.settimeout(240)
            client, _ = broker.accept()
            with client:
                client.settimeout(240)
                assert client.recv(1) == b"\x10"      # CONNECT: it is at work
                tail.send_signal(signal.SIGINT)
                assert tail.wait(60) == 130
            assert tail.stderr is not None
            assert tail.stderr.read() == ""


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """A shell starts background commands so; the daemon sets its signal handlers later."""
    (tmp_path / "ignoring.sh").write_text("trap '' INT\nexec \"$@\"\n")
    ended = interrupted(tmp_path, ["sh", "ignoring.sh", sys.executable, "-m", "vedette", "--version"], INTERRUPTING,
                        "argparse")
    assert (ended.returncode, ended.stdout[:8], ended.stderr) == (0, "vedette ", "")


def interrupted(folder: Path, command: list[str | Path], how: str, at: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is interrupted when it imports `at`."""
    (folder / "sitecustomize.py").write_text(how)
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder, env={
        **environment(folder), "PYTHONPATH": str(folder), "INTERRUPT_AT": at})
