"""The fallback chain, seen from outside: a real daemon and server, a model that fails, a film whose truth is known.

The film is dark, then has a lamp, and so on: the daemon's model can look at dark pictures only.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Payload, Subscriber
from tests.support.daemon.config import write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.models import lamps
from tests.support.network.detection_server import TOKEN, served
from tests.support.truth.dark_and_lit import FPS, TRUTH, captured_s, is_lit, write_film
from tests.support.truth.truth import TruthChecker
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

INTERVAL_S, DEADLINE_S = 0.5, 2.0


def fallback_config(folder: Path, port: int, *, cloud: str | None = None, model: Path | None = None,
                    motion: bool = False) -> Path:
    (folder / "token").write_text(TOKEN)
    sections = {"camera": f"{{source: '{write_film(folder)}', loop: true, fps: {FPS}}}",
                "detector": f"{{model: {json.dumps(str(model)) if model else 'null'}, threads: 1}}",
                "fallback": f"{{motion: {str(motion).lower()}}}"}
    if cloud is not None:
        sections["cloud"] = (f"{{enabled: true, url: '{cloud}/v1/detect', token_file: '{folder / 'token'}', "
                             f"interval_s: {INTERVAL_S}, deadline_s: {DEADLINE_S}, per_hour: 7200}}")
    return write_config(folder, port, sections=sections)


def calls(url: str) -> int:
    """The number of calls, as the server counts them."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=240)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        metrics = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(map(int, re.findall(r'requests_total\{route="[^"]*detect",status="\d+"\} (\d+)', metrics)))


def publishes_more(subscriber: Subscriber, source: str, count: int) -> bool:
    """Wait for so many more results of this source."""
    before = len(subscriber.results_from(source))
    return wait_until(lambda: len(subscriber.results_from(source)) >= before + count)


def publishes_after(subscriber: Subscriber, moment_s: float) -> bool:
    """Wait for a result of a frame captured later than this."""
    return wait_until(lambda: captured_s(subscriber.results[-1]) > moment_s)


def assert_accounts(final: Payload) -> None:
    capture = final["capture"]
    assert capture["captured"] == capture["detected"] + sum(capture["dropped"].values()) + capture["pending"]


def test_the_cloud_detects_only_while_the_model_fails(tmp_path: Path, broker: Mosquitto,
                                                                 subscriber: Subscriber) -> None:
    """Lit frames are the cloud's, within one deadline; calls end a second after the model works again; no result is
    published for a frame that was not detected on.
    """
    before_s = starved_s()
    server_folder = tmp_path / "server"
    server_folder.mkdir()
    model = lamps.raising(tmp_path, "9")
    with served(server_folder, "--token-file", str(server_folder / "tokens")) as url, \
            RunningDaemon(tmp_path, "--config",
                          fallback_config(tmp_path, broker.port, cloud=url, model=model)) as daemon:
        for turn in range(2):
            assert publishes_more(subscriber, "cloud", 3), daemon.log
            assert wait_until(lambda: {"fallback_cloud", "detector_failing"} <= subscriber.reasons.keys(), 5), turn
            assert subscriber.health["state"] == "degraded"
            assert wait_until(lambda: subscriber.results[-1]["source"] == "local"), daemon.log
            back_s = captured_s(subscriber.results[-1])
            assert publishes_after(subscriber, back_s + 1)
            asked = calls(url)
            assert asked >= 3
            assert subscriber.results[-1]["source"] == "local", "the model fails again already: no evidence"
            assert publishes_after(subscriber, back_s + 2.5)
            assert subscriber.results[-1]["source"] == "local"
            assert calls(url) == asked
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert TruthChecker(TRUTH).check_all(subscriber.received) == []
    every = subscriber.results
    assert [each["seq"] for each in every] == list(range(1, len(every) + 1))
    seqs = [each["frame"]["seq"] for each in every]
    assert seqs == sorted(set(seqs))
    assert {each["source"] for each in every} == {"local", "cloud"}
    for each in every:
        assert (each["source"] == "cloud") == is_lit(each), each
        assert [found["label"] for found in each["detections"]] == (["lamp"] if is_lit(each) else []), each
    for last, first in pairwise(every):
        if (last["source"], first["source"]) == ("local", "cloud"):
            failed_s = captured_s(last) + 1 / FPS
            assert captured_s(first) + first["age_ms"] / 1000 - failed_s <= DEADLINE_S + starved_s() - before_s
    final = subscriber.health
    assert_accounts(final)
    cloud = final["fallback"]["cloud"]
    assert cloud["calls"] == cloud["results"] + cloud["late"] + cloud["failed"]
    assert cloud["results"] == len(subscriber.results_from("cloud"))
    assert cloud["left"]["hour"]["calls"] == 7200 - cloud["calls"]
    assert final["inference"]["errors"] == final["capture"]["dropped"]["failed"] > 0


def test_motion_takes_over_within_two_seconds_without_model_and_cloud(tmp_path: Path, broker: Mosquitto,
                                                                 subscriber: Subscriber) -> None:
    """Without a model the cloud detects; when its server dies motion does, within 2 s, and health reports it."""
    server_folder = tmp_path / "server"
    server_folder.mkdir()
    with ExitStack() as server:
        url = server.enter_context(served(server_folder, "--token-file", str(server_folder / "tokens")))
        config = fallback_config(tmp_path, broker.port, cloud=url, motion=True)
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert wait_until(lambda: len(subscriber.results_from("cloud")) >= 3), daemon.log
            assert wait_until(lambda: {"fallback_cloud", "no_model"} <= subscriber.reasons.keys(), 5)
            server.close()
            assert wait_until(lambda: subscriber.results[-1]["source"] == "motion", 2), daemon.log
            assert wait_until(lambda: {"fallback_motion", "cloud_failing", "no_model"} <= subscriber.reasons.keys(), 5)
            assert "fallback_cloud" not in subscriber.reasons
            assert subscriber.health["state"] == "degraded"
            assert wait_until(lambda: any(each["detections"] for each in subscriber.results_from("motion")))
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
    moving = subscriber.results_from("motion")
    assert {found["label"] for each in moving for found in each["detections"]} == {"motion"}
    assert all(each["model"] is None for each in moving)
    assert TruthChecker(TRUTH).check_all(subscriber.received) == []
    assert_accounts(subscriber.health)


def test_a_server_that_hangs_delays_motion_for_two_seconds_at_most(
        tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """Neither model nor cloud works from the start: motion is published within the first two seconds."""
    before_s = starved_s()
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        config = fallback_config(tmp_path, broker.port, cloud=url, motion=True)
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert wait_until(lambda: subscriber.results), daemon.log
            assert wait_until(lambda: {"fallback_motion", "cloud_failing"} <= subscriber.reasons.keys())
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
    first = subscriber.results[0]
    assert first["source"] == "motion"
    assert first["frame"]["seq"] / FPS + first["age_ms"] / 1000 <= 2 + starved_s() - before_s
    assert subscriber.results_from("cloud") == []
    assert_accounts(subscriber.health)


def test_without_fallbacks_nothing_of_them_is_loaded(tmp_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    """A device without a model is failed and publishes no result, and no module of the cloud is imported."""
    config = fallback_config(tmp_path, broker.port)
    with RunningDaemon(tmp_path, "--config", config, env={"PYTHONPROFILEIMPORTTIME": "1"}) as daemon:
        assert wait_until(lambda: subscriber.health["state"] == "failed" and "no_model" in subscriber.reasons)
        assert wait_until(lambda: subscriber.health["capture"]["dropped"].get("no_model", 0) > 5)
        assert subscriber.health["fallback"] == {"looking": None, "cloud": None, "motion_results": None}
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert "vedette.detect.pipeline" in daemon.log
    assert not [line for line in daemon.errors if re.search(r"vedette\.(cloud|http_client|vision\.motion)", line)]
    assert subscriber.results == []
