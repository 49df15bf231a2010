"""A candidate's child that something outside stops or kills, or that sends false responses."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.models.candidates import BOX, ONE, children, patient, refused, street, tapped
from tests.support.present import present
from tests.support.waiting.fair_clock import fair_s
from tests.support.waiting.until import wait_until
from vedette.errors import (
    ModelDamaged,
    ModelError,
    ModelTimedOut,
    ModelUnproven,
)
from vedette.validate.candidate import Candidate
from vedette.validate.frame_tap import FrameTap, TappedFrame

# Popen warns of a child that does not end within two seconds after a kill.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
              pytest.mark.usefixtures("unharmed")]


def started_child(candidate: Candidate, shown: TappedFrame) -> int:
    candidate.probe()
    candidate.compare(shown)
    assert candidate.pid is not None
    return candidate.pid


def test_a_child_stopped_at_load_is_ended() -> None:
    """The caller does not hang."""
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(lambda: refused(BOX, ModelUnproven, r"loading it in a child took longer than 2 s",
                                              probe_timeout_s=2))
        while not probing.done():       # with tflite-runtime there are two tries
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for pid in children():
                    os.kill(pid, signal.SIGSTOP)
        probing.result()


@pytest.mark.parametrize(("number", "kind", "words"), [
    (signal.SIGSEGV, ModelDamaged, "the child detecting in a frame was killed by SIGSEGV"),
    (signal.SIGKILL, ModelUnproven, "the child detecting in a frame was killed by SIGKILL"),
    (signal.SIGXCPU, ModelTimedOut, "the child detecting in a frame was killed by SIGXCPU")])
def test_the_error_says_how_a_child_ended_before_a_comparison(tap: FrameTap, number: signal.Signals,
                                                                 kind: type[ModelError], words: str) -> None:
    """The error names the signal; a SIGKILL does not blame the model. Later calls are refused."""
    with patient(BOX, ONE) as candidate:
        shown = present(tapped(tap, street()))
        os.kill(started_child(candidate, shown), number)
        with pytest.raises(kind, match=words) as refusal:
            candidate.compare(shown)
        assert type(refusal.value) is kind
        with pytest.raises(ModelDamaged, match="its child has ended"):
            candidate.compare(shown)


def test_the_error_says_that_a_child_was_killed_during_a_comparison(tap: FrameTap) -> None:
    """The error comes at once, not after the time limit."""
    with patient(BOX, ONE, compare_timeout_s=60) as candidate, ThreadPoolExecutor(1) as pool:
        shown = present(tapped(tap, street()))
        pid = pool.submit(started_child, candidate, shown).result()
        os.kill(pid, signal.SIGSTOP)        # so that the comparison lasts as long as the test needs
        stopped = wait_until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text())
        looking = pool.submit(candidate.compare, shown)
        asked = stopped and wait_until(lambda: unread(candidate) > 0)
        start = fair_s()
        os.kill(pid, signal.SIGKILL)
        assert asked
        with pytest.raises(ModelUnproven, match="killed by SIGKILL"):
            looking.result()
        assert fair_s() - start < 10


def unread(candidate: Candidate) -> int:
    """Bytes that were sent to the child and that it has not read."""
    link = present(candidate._child)._child.socket
    return int.from_bytes(fcntl.ioctl(link, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_a_child_stopped_during_a_comparison_is_ended(tap: FrameTap) -> None:
    """It is ended after the time limit of a comparison."""
    with patient(BOX, ONE, compare_timeout_s=5) as candidate:
        shown = present(tapped(tap, street()))
        os.kill(started_child(candidate, shown), signal.SIGSTOP)
        with pytest.raises(ModelUnproven, match=r"detecting in a frame in a child took longer than 5 s"):
            candidate.compare(shown)


@pytest.mark.parametrize(("lie", "words"), [
    ({"proof": {"sha256": "0" * 64}}, "about another file"), ({"proof": {"threads": 7}}, "about another file"),
    ({"proof": {"invoke_ms": "soon"}}, "invalid response"), ({"load": {"invoke_ms": -1}}, "invalid response"),
    ({"load": {"invoke_ms": float("nan")}}, "invalid response"), ({"load": {"proof": None}}, "invalid response"),
    ({"load": {"refused": "SystemExit", "words": ""}}, "invalid response"), ({"raw": "{"}, "invalid response"),
    ({"raw": "x" * 60_000}, "invalid response"),
    ({"look": {"detections": [[0, 0.9, 0.1, 0.1, 1.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": [[-1, 0.9, 0.1, 0.1, 0.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": [[0, float("nan"), 0.1, 0.1, 0.2, 0.3]]}}, "invalid response"),
    ({"look": {"detections": "many"}}, "invalid response"), ({"look": {"invoke_ms": float("inf")}}, "invalid response"),
    ({"look": {"detections": []}}, "missing: "),
    ({"look": {"refused": "InvokeFailed", "words": f"{BOX}: no"}}, "no")])
def test_a_false_response_is_refused(monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any], words: str) -> None:
    """A response about another file, or with impossible values, raises an error."""
    monkeypatch.setenv("LIE", json.dumps(lie))
    refused(BOX, ModelError, words, child_module="tests.validate.lying_child")


def test_a_child_that_hangs_up_and_does_not_end_does_not_blame_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks like a killed child on an overloaded machine, which may end it late."""
    monkeypatch.setenv("LIE", json.dumps({"hangs_up": True}))
    refused(BOX, ModelUnproven, "the child loading it hung up", child_module="tests.validate.lying_child")


def test_the_error_says_that_a_childs_module_ended() -> None:
    """A module that does not exist ends at once."""
    refused(BOX, ModelDamaged, "ended with exit code 1", child_module="vedette.no_such_module")
