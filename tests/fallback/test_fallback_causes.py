"""Other causes for which the model cannot detect, and how soon the cloud takes over and ends.

The server is a plain Flask one, which knows neither tokens nor our dialect. Moments are the server's own, and those of
the results.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import Payload, Subscriber, listening
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.models import lamps
from tests.support.network.flask_server import FlaskServer, flask_server
from tests.support.truth.dark_and_lit import DARK, FPS, TRUTH, captured_s, write_film
from tests.support.truth.truth import TruthChecker
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

SOON_S, DEADLINE_S = 1.0, 2.0


@dataclass
class Scene:
    """A daemon, its cloud, and a subscriber."""

    folder: Path
    server: FlaskServer
    daemon: RunningDaemon
    subscriber: Subscriber
    _before_s: float = field(default_factory=starved_s)

    @property
    def starved_s(self) -> float:
        """How long the machine kept a task waiting since the scene began."""
        return starved_s() - self._before_s

    @property
    def log(self) -> str:
        return self.daemon.log

    def waits_for(self, source: str, since_s: float = 0.0) -> Payload:
        """Return the first result of that source of a frame captured since then."""
        def found() -> list[Payload]:
            return [each for each in self.subscriber.results_from(source) if captured_s(each) >= since_s]
        assert wait_until(lambda: bool(found()), 120), (source, self.subscriber.health, self.log)
        return found()[0]

    def assert_no_later_calls(self, local: Payload) -> None:
        """Check that calls end within a second of the device's own first result, as long as the film stays dark."""
        again_s = ready_s(local)
        assert wait_until(lambda: captured_s(self.subscriber.results_from("local")[-1]) > again_s + 2 * SOON_S, 60), \
            self.log
        calls = [moment + time.time() - time.monotonic() - again_s for moment in self.server.asked]
        assert calls
        assert [after_s for after_s in calls if SOON_S + self.starved_s < after_s < DARK / FPS - SOON_S] == []


def ready_s(result: Payload) -> float:
    return captured_s(result) + float(result["age_ms"]) / 1000


@contextmanager
def scene(folder: Path, *, model: Path | None) -> Iterator[Scene]:
    (folder / "token").write_text("unused")
    (folder / "token").chmod(0o600)
    with running(folder) as broker, listening(broker.client(), f"vedette/{DEVICE}/#") as subscriber, \
            flask_server(folder) as server:
        config = write_config(
            folder, broker.port, update="{require_signed: false}",
            camera=f"{{source: '{write_film(folder)}', loop: true, fps: {FPS}}}",
            detector=f"{{model: {json.dumps(model and str(model))}, threads: 1}}",
            cloud=f"{{enabled: true, url: '{server.url}', dialect: yolov5, token_file: token, interval_s: 0.3, "
                  f"deadline_s: {DEADLINE_S}, per_hour: 7200}}")
        with RunningDaemon(folder, "--config", config) as daemon:
            yield Scene(folder, server, daemon, subscriber)
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
        assert TruthChecker(TRUTH).check_all(subscriber.received) == []


def test_a_plain_server_replaces_a_model_that_raises(tmp_path: Path) -> None:
    """Boxes of the YOLOv5 dialect are true of their frames; the first comes in time, and no call is made later."""
    with scene(tmp_path, model=lamps.raising(tmp_path, "9")) as one:
        first = one.waits_for("cloud", captured_s(one.waits_for("local")))
        last = max(captured_s(each) for each in one.subscriber.results_from("local") if each["seq"] < first["seq"])
        assert ready_s(first) - (last + 1 / FPS) <= DEADLINE_S + one.starved_s
        assert first["detections"][0]["label"] == "lamp"
        assert first["model"] is None
        one.assert_no_later_calls(one.waits_for("local", captured_s(first)))


def test_an_installed_model_ends_the_calls_to_the_cloud(tmp_path: Path) -> None:
    """Without a model the cloud detects; once a model is installed by hand it detects, and the calls end."""
    with scene(tmp_path, model=None) as one:
        first = one.waits_for("cloud")
        assert one.subscriber.waits_for_reason("no_model", 60)
        done = vedette("model", "install", lamps.write(tmp_path, "1"), "--config", tmp_path / "config.yaml",
                       folder=tmp_path, timeout_s=240)
        assert done.returncode == 0, done.stderr
        one.assert_no_later_calls(one.waits_for("local", captured_s(first)))
