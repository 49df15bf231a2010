"""The subscriber that knows the truth finds out daemons that lie, and believes the one that does not."""

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
    """Let a daemon look at the dark and `then` at lamps, with a model that raises at lamps if `failing`."""
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
def test_a_naive_daemon_is_found_out(tmp_path: Path, how: str) -> None:
    """It presents a failure as nothing seen, the last boxes as the newest, or counts that nobody looks after."""
    checker = watch(tmp_path, how, lambda checker, _: len(checker.lies) > 2, failing=how != "repeat")
    assert any(WORDS[how] in lie for lie in checker.lies), checker.lies


def test_the_daemon_is_believed_when_the_picture_freezes(tmp_path: Path) -> None:
    """Results come of what the camera gives; the counts are null until it moves again, without a flicker."""
    checker = watch(tmp_path, "honest", lambda checker, _: checker.frozen_healths > 4, failing=False, then="frozen")
    assert checker.lies == []
    assert checker.checked > 10


def test_a_model_that_never_ends_is_stood_in_for(tmp_path: Path) -> None:
    """It raises nothing: after five seconds the cloud looks, within its deadline, and every result stays true."""
    (tmp_path / "token").write_text("unused")
    with flask_server(tmp_path) as server:
        def reported(_: TruthChecker, witness: Witness) -> bool:
            return witness.reasons >= {"detector_failing", "fallback_cloud"} and witness.results > LAST_TURN + 5
        checker = watch(tmp_path, "hang", reported, more=(
            f"cloud: {{enabled: true, url: '{server.url}', dialect: yolov5, token_file: token, interval_s: 0.2}}\n"))
    assert checker.lies == []


def test_nobody_looks_while_a_model_never_ends(tmp_path: Path) -> None:
    """Without a fallback the device says so, and its counts are null."""
    checker = watch(tmp_path, "hang", lambda checker, witness: "detector_failing" in witness.reasons and checker.silent)
    assert checker.lies == []


@pytest.mark.parametrize("failing", [True, False])
def test_the_daemon_is_believed(tmp_path: Path, failing: bool) -> None:
    """The same frames and the same failing model: silence and a reason, or true boxes."""
    def reported(_: TruthChecker, witness: Witness) -> bool:
        return "detector_failing" in witness.reasons if failing else witness.results > 100
    checker = watch(tmp_path, "honest", reported, failing=failing)
    assert checker.lies == []
    assert checker.checked > 10
