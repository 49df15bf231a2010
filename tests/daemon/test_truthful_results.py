"""The check of published results against the truth finds daemons that lie, and accepts the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import give
from tests.support.daemon.naive import LAST_TURN, NAIVE, PROGRAM
from tests.support.daemon.running import RunningDaemon
from tests.support.models import lamps
from tests.support.network.flask_server import flask_server
from tests.support.truth.truth import Noted, TruthChecker
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

WORDS = {"empty": "says nothing of frame", "repeat": "which had a lamp", "hold": "still stand, while health says"}


def watch(folder: Path, how: str, until: Callable[[TruthChecker, Witness], bool], *, failing: bool = False,
          then: str = "", more: str = "") -> TruthChecker:
    """Run a daemon on dark frames and `then` on lamps, with a model that raises at lamps if `failing`."""
    order, config = folder / "order", folder / "config.yaml"
    give(order, "black")
    checker = TruthChecker(Noted(order))
    with running(folder) as broker, Witness(broker.client(), "gate", checker) as witness:
        config.write_text(
            f"device: gate\nmqtt: {{port: {broker.port}}}\npublish: {{results: all, max_per_s: 1000}}\n"
            f"health: {{interval_s: 1}}\ncamera: {{source: 'tcp://{order}', fps: 30, frozen_after_s: 1}}\n"
            f"detector: {{model: '{lamps.write(folder, '1', raises=failing)}', threads: 1}}\n{more}")
        with RunningDaemon(folder, how, config, program=PROGRAM) as daemon:
            assert wait_until(lambda: witness.results > 10, 60), daemon.log
            give(order, then)
            assert wait_until(lambda: until(checker, witness), 60), (daemon.log, checker.lies)
    return checker


@pytest.mark.parametrize("how", NAIVE)
def test_a_lying_daemon_is_detected(tmp_path: Path, how: str) -> None:
    """It publishes a failure as an empty result, old boxes as new ones, or counts while nothing detects."""
    checker = watch(tmp_path, how, lambda checker, _: len(checker.lies) > 2, failing=how != "repeat")
    assert any(WORDS[how] in lie for lie in checker.lies), checker.lies


def test_a_frozen_picture_gives_no_lie(tmp_path: Path) -> None:
    """Results follow the camera's frames; the counts are null until the picture moves again, without a flicker."""
    checker = watch(tmp_path, "honest", lambda checker, _: checker.frozen_healths > 4, failing=False, then="frozen")
    assert checker.lies == []
    assert checker.checked > 10


def test_the_cloud_replaces_a_model_that_hangs(tmp_path: Path) -> None:
    """The model raises nothing: after five seconds the cloud detects, within its deadline; every result is true."""
    (tmp_path / "token").write_text("unused")
    with flask_server(tmp_path) as server:
        def reported(_: TruthChecker, witness: Witness) -> bool:
            return witness.reasons >= {"detector_failing", "fallback_cloud"} and witness.results > LAST_TURN + 5
        checker = watch(tmp_path, "hang", reported, more=(
            f"cloud: {{enabled: true, url: '{server.url}', dialect: yolov5, token_file: token, interval_s: 0.2}}\n"))
    assert checker.lies == []


def test_a_model_that_hangs_without_a_fallback_is_reported(tmp_path: Path) -> None:
    """The device reports that it does not detect, and its counts are null."""
    checker = watch(tmp_path, "hang", lambda checker, witness: "detector_failing" in witness.reasons and checker.silent)
    assert checker.lies == []


@pytest.mark.parametrize("failing", [True, False])
def test_the_daemon_gives_no_lie(tmp_path: Path, failing: bool) -> None:
    """With the same frames and the same failing model the daemon publishes a reason, or true boxes."""
    def reported(_: TruthChecker, witness: Witness) -> bool:
        return "detector_failing" in witness.reasons if failing else witness.results > 100
    checker = watch(tmp_path, "honest", reported, failing=failing)
    assert checker.lies == []
    assert checker.checked > 10
