"""The model in the box: where it is found, and that it runs for the drawn street and for nothing else."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon.running import RunningDaemon
from tests.support.models import tiny_detectors
from tests.support.present import present
from vedette.config.models import Config
from vedette.detect.box_model import BOX_MODEL
from vedette.detect.open_model import DetectorOpener, ModelChoice, choose_model
from vedette.detect.opening_count import OpeningCount
from vedette.errors import ModelDamaged, ModelTimedOut
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed
from vedette.tflite.file import digest

SEEN = Path(__file__).parents[2] / "models" / "vedette-street.tflite"


def choice(store: ModelStore, source: str, model: Path | None = None) -> ModelChoice | None:
    return choose_model(Config.model_validate({"camera": {"source": source}, "detector": {"model": model}}), store)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "models")
    store.recover()
    return store


def test_it_lies_in_the_package() -> None:
    """What the package carries is the file that people see."""
    assert BOX_MODEL.read_bytes() == SEEN.read_bytes()


@pytest.mark.parametrize("source", ["synthetic", "synthetic?hard=1&misbehave=dark:20:5"])
def test_the_drawn_street_has_a_model(store: ModelStore, source: str) -> None:
    """Where none is named, with whatever options; one that is named stays."""
    assert choice(store, source) == ModelChoice(BOX_MODEL)
    assert choice(store, source, Path("m.tflite")) == ModelChoice(Path("m.tflite"), pinned=True)


@pytest.mark.parametrize("source", ["auto", "picamera2", "/dev/video0", "rtsp://gate/", "film.mp4", "synthetics/"])
def test_it_never_stands_in_for_a_field_model(store: ModelStore, source: str) -> None:
    """A camera, a stream and a film have the model that is named or installed, or none."""
    assert choice(store, source) is None


@pytest.mark.parametrize("source", ["auto", "synthetic"])
def test_an_installed_model_comes_before_it_and_a_named_one_before_both(store: ModelStore, source: str,
                                                                        tmp_path: Path) -> None:
    """The store's active model runs with its variant, unless the configuration names one."""
    sha256, size = store.stage(BOX_MODEL, None, limit_bytes=1 << 24)
    store.change(store.state.activated(Installed(sha256=sha256, size=size, name="street", variant="b"),
                                       datetime.now(UTC)))
    assert choice(store, source) == ModelChoice(store.path_of(sha256), sha256, "b")
    assert present(choice(store, source, Path("m.tflite"))).path == Path("m.tflite")


@pytest.mark.slow
def test_a_model_of_another_digest_is_not_opened(store: ModelStore, tmp_path: Path) -> None:
    """What the store verified must still be in its place when it is opened."""
    path = tiny_detectors.write(tmp_path)
    opener = DetectorOpener(Config(), store, tmp_path / "proofs.json", OpeningCount(tmp_path, died=False))
    opener.open(ModelChoice(path, digest(path).sha256)).close()
    with pytest.raises(ModelDamaged):
        opener.open(ModelChoice(path, "ab" * 32))


@pytest.mark.slow
def test_a_reload_reaches_a_detector_that_is_being_opened(store: ModelStore, tmp_path: Path) -> None:
    """The proofs are a pipe here, so that the opening waits until the configuration was reloaded."""
    path, proofs = tiny_detectors.write(tmp_path), tmp_path / "proofs.json"
    os.mkfifo(proofs)
    opener = DetectorOpener(Config.model_validate({"detector": {"score_threshold": 0.3}}), store, proofs,
                            OpeningCount(tmp_path, died=False))
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(opener.open, ModelChoice(path))
        with proofs.open("wb") as pipe:
            opener.reload(Config.model_validate({"detector": {"score_threshold": 0.9},
                                                 "camera": {"roi": [0, 0.5, 1, 1]}}))
            pipe.write(b"[]")
        opened = opening.result()
    assert opened.limits.score_threshold == 0.9
    assert opened.detect(tiny_detectors.frame(8, 8)).roi == (0.0, 0.5, 1.0, 1.0)
    opened.close()


@pytest.mark.slow
def test_the_limits_are_those_of_the_model_that_is_open(store: ModelStore, tmp_path: Path) -> None:
    """Where the configuration states no threshold, it is the model's own."""
    config = Config.model_validate({"camera": {"source": "synthetic"}})
    opener = DetectorOpener(config, store, tmp_path / "proofs.json", OpeningCount(tmp_path, died=False))
    assert opener.limits() is None
    with closing(present(opener.open_chosen())) as opened:
        assert opener.limits() == opened.spec.limits
        assert opened.spec.limits.score_threshold != config.detector.score_threshold
        opener.reload(Config.model_validate({"camera": {"source": "synthetic"}, "detector": {"score_threshold": 0.8}}))
        assert present(opener.limits()).score_threshold == 0.8


@pytest.mark.slow
def test_a_model_that_is_only_slow_to_prove_is_opened_at_last(store: ModelStore, tmp_path: Path) -> None:
    """No child proves a file in the first 10 ms. Each next try, and the detect thread with it, gets more time."""
    path = tiny_detectors.write(tmp_path)
    opener = DetectorOpener(Config(), store, tmp_path / "proofs.json", OpeningCount(tmp_path, died=False), probe_s=0.01)
    within_s, opened = [opener.within_s], None
    while opened is None:
        try:
            opened = opener.open(ModelChoice(path))
        except ModelTimedOut:
            within_s.append(opener.within_s)
    opened.close()
    assert within_s == sorted(set(within_s))
    assert len(within_s) > 1
    assert opener.within_s == within_s[0]


@pytest.mark.daemon
def test_the_daemon_watches_the_street_with_nothing_named(tmp_path: Path) -> None:
    """`vedette run --source synthetic` detects, with the model in the box, whatever the current folder."""
    with RunningDaemon(tmp_path, "--source", "synthetic", "--print", "--frames", "8",
                       env={"VEDETTE_MQTT__PORT": "1"}) as daemon:
        assert daemon.ends() == 0, daemon.log
    assert {result["model"]["name"] for result in daemon.results} == {"vedette-street"}
    assert sum(len(result["detections"]) for result in daemon.results) >= 8
