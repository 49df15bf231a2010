"""A child process and its socket."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.present import present
from vedette._lib.child import Child


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    child = Child("echo_child", {"EXTRA": "1"})
    yield child
    child.close()
    assert child.kill(5)


def answer(child: Child) -> bytes:
    assert select.select([child.socket], [], [], 60)[0]
    return present(child.receive())


def test_messages_and_descriptors_cross(child: Child) -> None:
    """A message keeps its bounds, and the child can use a descriptor that is sent along."""
    reader, writer = os.pipe()
    os.write(writer, b" and a pipe")
    assert child.receive() is None
    assert child.send(b"hello", (reader,))
    os.close(reader)
    os.close(writer)
    assert answer(child) == b"hello and a pipe"


def test_a_closed_end_makes_the_child_end(child: Child) -> None:
    """The child ends by itself when the parent closes its end."""
    child.send(b"x")
    answer(child)
    child.close()
    assert child.wait(240)
    assert child.ending() == "ended with exit code 0"
    assert not child.send(b"x")


def test_a_killed_child_is_an_end_of_file_and_says_how(child: Child) -> None:
    """A killed child reads as b"", and `ending` names the signal."""
    child.send(b"x")
    answer(child)
    assert child.kill(5)
    assert answer(child) == b""
    assert child.ending() == "was killed by SIGKILL"
    assert "SIGKILL" in repr(child)


def test_stop_is_seen_and_terminal_signals_are_not_for_the_child(child: Child) -> None:
    """SIGSTOP is noticed; SIGINT and SIGTERM do not end the child."""
    child.send(b"x")
    answer(child)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid, number)
    child.send(b"still here")
    assert answer(child) == b"still here"
    assert not child.stopped()
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert child.stopped()


def test_the_child_dies_with_its_parent() -> None:
    """SIGKILL of the parent ends a child that reads nothing."""
    parent = subprocess.Popen(
        [sys.executable, "-c", ("from vedette._lib.child import Child; import select, signal\n"
         "child = Child('echo_child', {})\nchild.send(b'stay')\nselect.select([child.socket], [], [], 60)\n"
         "print(child.pid, flush=True)\nsignal.pause()")],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
    pidfd = os.pidfd_open(int(present(parent.stdout).readline()))
    parent.kill()
    parent.communicate(timeout=240)
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)


def test_the_working_folder_is_no_source_of_modules(tmp_path: Path) -> None:
    """A child does not import a module from the current folder."""
    (tmp_path / "socket.py").write_text("raise SystemExit('imported from the working folder')")
    (tmp_path / "lonely_child.py").write_text("")
    code = ("from vedette._lib.child import Child\n"
            "for module in ('echo_child', 'lonely_child'):\n"
            "    child = Child(module, {})\n"
            "    child.close()\n"
            "    print(child.wait(240), child.ending())")
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, text=True, capture_output=True, timeout=240,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, check=True)
    assert done.stdout.splitlines() == ["True ended with exit code 0", "True ended with exit code 1"]


def test_a_wait_has_an_end(child: Child) -> None:
    """For a child that lives on, it returns when the time is up; for one that ends meanwhile, at once."""
    child.send(b"x")
    answer(child)
    assert not child.wait(0.05)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(240)
    assert child.wait(0)


def test_the_terminal_signals_only_its_own_group(child: Child) -> None:
    """Ctrl-C goes to the group of the parent, so the child has its own."""
    assert os.getpgid(child.pid) == child.pid
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_a_child_whose_parent_has_left_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process has become its parent, nobody would end it: it ends, and disturbs no terminal."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        done = subprocess.run(["sh", "-c", '"$0" -m echo_child; exit $?', sys.executable], stdin=theirs.fileno(),
                              capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_child_that_a_person_starts_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket as its standard input, it ends with a message."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-m", "echo_child"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=240)
    assert (done.returncode, done.stderr) == (1, "started without a parent: expected the daemon to start this module\n")
