"""A reload has the effect that a restart would have on live keys, and health says what it leaves for a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.config.load import Loaded, load, read
from vedette.config.models import Config
from vedette.config.reload import Reloader, live_part
from vedette.tflite.file import read_model
from vedette.vision.model_spec import limits_of

BOX = Path(__file__).parents[2] / "models" / "vedette-street.tflite"

STATED = {"VEDETTE_DETECTOR__SCORE_THRESHOLD": "0.5", "VEDETTE_DETECTOR__IOU_THRESHOLD": "0.2"}


@pytest.mark.parametrize(("before", "after"), [({}, STATED), (STATED, {}), (STATED, {**STATED, "VEDETTE_DEVICE": "b"})])
def test_a_reload_has_the_effect_of_a_restart(before: dict[str, str], after: dict[str, str]) -> None:
    """A key that is stated with its default counts; one that is removed leaves the choice to the model."""
    wanted = load(None, environ=after)
    reloaded = live_part(load(None, environ=before), wanted)
    assert limits_of(read_model(BOX), reloaded.detector) == limits_of(read_model(BOX), wanted.detector)
    assert reloaded.detector.model_fields_set == wanted.detector.model_fields_set
    assert reloaded.device == load(None, environ=before).device


def test_only_live_keys_become_stated() -> None:
    """A key that needs a restart stays as unstated as it was."""
    wanted = load(None, environ={**STATED, "VEDETTE_DETECTOR__THREADS": "1"})
    assert live_part(Config(), wanted).detector.model_fields_set == {"score_threshold", "iou_threshold"}


def test_a_refused_reload_keeps_what_an_earlier_one_left() -> None:
    """Both reasons hold until a configuration is accepted; then it alone says what waits for a restart."""
    environ: dict[str, str] = {}

    def load_now() -> Loaded:
        return read(None, environ=environ)
    reloader = Reloader(load_now(), load_now)
    environ["VEDETTE_CAMERA__FPS"] = "3"
    reloader.reload()
    assert reloader.reasons() == {"restart_needed": "camera.fps"}
    environ["VEDETTE_DETECTOR__THREADS"] = "many"
    reloader.reload()
    assert reloader.reasons().keys() == {"restart_needed", "config_rejected"}
    assert reloader.reasons()["restart_needed"] == "camera.fps"
    environ["VEDETTE_DETECTOR__THREADS"] = "1"
    reloader.reload()
    assert reloader.reasons() == {"restart_needed": "camera.fps, detector.threads"}
    environ.clear()
    reloader.reload()
    assert reloader.reasons() == {}
