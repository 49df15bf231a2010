"""A reload has the effect that a restart would have on live keys, and health says what it leaves for a restart."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from vedette.config.load import Loaded, load, read
from vedette.config.models import Config
from vedette.config.reload import Reloader, live_part, restart_keys
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


FRAME = [("camera", "source", "folder/"), ("camera", "width", 640), ("camera", "height", 360), ("camera", "rotate", 90),
         ("camera", "controls", {"HdrMode": 0})]
MASKS = [("camera", "masks", [[[0, 0], [1, 0], [1, 1]]]), ("cloud", "masks", [[[0, 0], [1, 0], [1, 1]]])]
INSIDE, BESIDE = [0.25, 0.25, 0.5, 0.5], [0.4, 0.25, 0.8, 0.5]


@pytest.mark.parametrize(("more", "roi", "waits"), [
    *((each, INSIDE, True) for each in FRAME), *((each, BESIDE, True) for each in MASKS),
    *((each, None, True) for each in MASKS), *((each, INSIDE, False) for each in MASKS),
    (("camera", "fps", 7), None, False), (("detector", "threads", 1), None, False)])
def test_a_region_does_not_come_before_what_it_is_a_part_of(more: tuple[str, str, object], roi: list[float] | None,
                                                            waits: bool) -> None:
    """Of another camera it would show another place; without its masks, what they shall hide."""
    section, name, value = more
    old = Config.model_validate({"camera": {"roi": [0.2, 0.2, 0.6, 0.6]}})
    wanted: dict[str, dict[str, object]] = {"camera": {"roi": roi}}
    wanted.setdefault(section, {})[name] = value
    new = Config.model_validate(wanted)
    now = live_part(old, new)
    assert {*restart_keys(old, new)} == {f"{section}.{name}", *waits * ["camera.roi"]}
    assert now.camera.roi == (old if waits else new).camera.roi
    assert restart_keys(now, new) == restart_keys(old, new)


def test_a_key_that_waits_keeps_its_place(tmp_path: Path) -> None:
    """The value that runs came from there, and the value that waits does not run."""
    path = tmp_path / "config.yaml"
    path.write_text("camera: {rotate: 90, masks: [[[0, 0], [1, 0], [1, 1]]]}\ndetector: {deny: [cat]}\n")
    reloader = Reloader(read(path, environ={}), partial(read, path, environ={}))
    path.write_text("# moved\ncamera: {rotate: 180, roi: [0, 0, 0.5, 1]}\ndetector: {deny: [dog]}\n")
    reloader.reload()
    assert reloader.pending == ("camera.rotate", "camera.roi", "camera.masks")
    assert {name: reloader.places.get(name) for name in ("camera.rotate", "camera.roi", "camera.masks",
                                                         "detector.deny")} == {
        "camera.rotate": f"{path}:1", "camera.roi": None, "camera.masks": f"{path}:1", "detector.deny": f"{path}:3"}


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
