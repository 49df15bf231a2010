"""A model that kills the daemon while it is opened is tried three times, not at every start for ever."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon.update_device import Device, device_in
from tests.support.models import lamps
from tests.support.waiting.until import wait_until
from vedette.detect.opening_count import DEATHS_MAX, RECORD, RETRY_AFTER_S, OpeningCount
from vedette.errors import ModelDamaged, ModelUnproven

FILES = ((1, 2, 3, 4), None)
MODEL = Path("street.tflite")
DIED = "the daemon died 3 times while it opened this model"
NEVER_ENDED: list[contextlib.AbstractContextManager[None]] = []
"""Else they would end with their last reference."""
DIES = """
import os, signal, sys
from vedette.vision.interpreter import Interpreter
Interpreter.__init__ = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from vedette.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    NEVER_ENDED.clear()


def dies(folder: Path, *, died: bool = True, retry_after_s: float = RETRY_AFTER_S) -> None:
    """Begin an opening that never ends. `died`: the run before was killed."""
    opening = OpeningCount(folder, died=died, retry_after_s=retry_after_s).counted(MODEL, FILES)
    opening.__enter__()
    NEVER_ENDED.append(opening)


def opens(folder: Path, *, files: object = FILES) -> None:
    with OpeningCount(folder, died=True).counted(MODEL, files):
        pass


def test_the_fourth_opening_is_refused_until_the_file_changes(tmp_path: Path) -> None:
    """The message names the file; it stays refused over restarts, and another file is opened."""
    for _ in range(DEATHS_MAX):
        dies(tmp_path)
    for _ in range(2):
        with pytest.raises(ModelDamaged, match=rf"{MODEL}: {DIED}"):
            opens(tmp_path)
    opens(tmp_path, files=((1, 2, 3, 5), None))


def test_it_is_tried_again_after_a_while(tmp_path: Path) -> None:
    """Whatever killed the daemon may have been something else. Another death refuses it for as long again."""
    for _ in range(DEATHS_MAX):
        dies(tmp_path)
    dies(tmp_path, retry_after_s=0)
    with pytest.raises(ModelDamaged, match="died 4 times"):
        opens(tmp_path)


def test_a_reload_tries_it_again(tmp_path: Path) -> None:
    """Without a restart."""
    for _ in range(DEATHS_MAX):
        dies(tmp_path)
    count = OpeningCount(tmp_path, died=True)
    with pytest.raises(ModelDamaged), count.counted(MODEL, FILES):
        raise AssertionError("it must not begin")
    count.forget()
    with count.counted(MODEL, FILES):
        pass
    opens(tmp_path)


def test_orderly_ends_and_power_cuts_are_no_deaths(tmp_path: Path) -> None:
    """A daemon that is stopped while it opens a model leaves the record open."""
    for _ in range(DEATHS_MAX + 1):
        dies(tmp_path, died=False)
    opens(tmp_path)


def test_an_opening_that_succeeds_forgets_the_deaths(tmp_path: Path) -> None:
    """One that is refused for want of time does not, and is no death either."""
    for _ in range(2):
        dies(tmp_path)
        dies(tmp_path)
        opens(tmp_path)
    dies(tmp_path)
    dies(tmp_path)
    with pytest.raises(ModelUnproven), OpeningCount(tmp_path, died=True).counted(MODEL, FILES):
        raise ModelUnproven("took longer than 30 s")
    dies(tmp_path)
    with pytest.raises(ModelDamaged, match=DIED):
        opens(tmp_path)


@pytest.mark.parametrize("content", [b"\xff" * 8192, b""])
def test_a_damaged_record_knows_no_deaths(tmp_path: Path, content: bytes) -> None:
    """And it does not stop the opening; neither does a folder that is gone."""
    (tmp_path / RECORD).write_bytes(content)
    opens(tmp_path)
    opens(tmp_path / "nowhere")


@pytest.mark.daemon
def test_a_pinned_model_that_kills_three_daemons_is_refused(tmp_path: Path) -> None:
    """The fourth daemon says so in health and stays; a reload opens the model again."""
    with device_in(tmp_path) as device:
        device.configure(detector=f"{{threads: 1, model: '{lamps.write(tmp_path, '1')}'}}")
        for _ in range(DEATHS_MAX):
            with device.daemon(("-c", DIES)) as daemon:
                assert daemon.ends() == -signal.SIGKILL, daemon.log
        refused(device)


def refused(device: Device) -> None:
    """Start a daemon that would live, as a service: it refuses the model until SIGHUP."""
    with device.daemon(env={"NOTIFY_SOCKET": "/run/nobody-listens-here"}) as daemon:
        assert wait_until(lambda: DIED in (device.reasons().get("model_refused") or "")), daemon.log
        daemon.signal(signal.SIGHUP)
        assert device.waits_for_results_of("1"), daemon.log
        assert wait_until(lambda: "model_refused" not in device.reasons()), daemon.log
