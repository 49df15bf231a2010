"""The model in the box: where it is found, and that it runs for the drawn street and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from running_daemon import RunningDaemon
from vedette.box_model import BOX_MODEL, with_box_model
from vedette.config.models import Config

SEEN = Path(__file__).parents[1] / "models" / "vedette-street.tflite"


def config(source: str, model: Path | None = None) -> Config:
    return Config.model_validate({"camera": {"source": source}, "detector": {"model": model}})


def test_it_lies_in_the_package():
    """What the package carries is the file that people see."""
    assert BOX_MODEL.read_bytes() == SEEN.read_bytes()


@pytest.mark.parametrize("source", ["synthetic", "synthetic?hard=1&misbehave=dark:20:5"])
def test_the_drawn_street_has_a_model(source):
    """Where none is named, with whatever options; one that is named stays."""
    assert with_box_model(config(source)).detector.model == BOX_MODEL
    assert with_box_model(config(source, Path("m.tflite"))).detector.model == Path("m.tflite")


@pytest.mark.parametrize("source", ["auto", "picamera2", "/dev/video0", "rtsp://gate/", "film.mp4", "synthetics/"])
def test_it_never_stands_in_for_a_field_model(source):
    """A camera, a stream and a film have the model that is named, or none."""
    assert with_box_model(config(source)).detector.model is None


def test_the_daemon_watches_the_street_with_nothing_named(tmp_path):
    """`vedette run --source synthetic` detects, with the model in the box, whatever the current folder."""
    with RunningDaemon(tmp_path, "--source", "synthetic", "--print", "--frames", "8",
                       env={"VEDETTE_MQTT__PORT": "1"}) as daemon:
        assert daemon.ends(60) == 0, daemon.log
    assert {result["model"]["name"] for result in daemon.results} == {"vedette-street"}
    assert sum(len(result["detections"]) for result in daemon.results) >= 8
