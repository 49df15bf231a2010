"""The collector while the daemon runs: which frames it takes, what a picture shows, commands, and a disk that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.config.camera_values import region_of
from vedette.config.load import Loaded
from vedette.config.models import Config, DetectorConfig
from vedette.config.reload import Reloader
from vedette.detect.box_model import BOX_MODEL
from vedette.detect.open_model import DetectorOpener
from vedette.errors import StateUnusable, UsageError, VedetteError
from vedette.tflite.file import read_model
from vedette.types import WHOLE, Box, Detection, Frame, Scaling
from vedette.vision.limits import Limits
from vedette.vision.model_spec import resolve
from vedette.vision.prepare import InputWriter
from vedette.workshop.collection import CANDIDATES, FOLDER
from vedette.workshop.collector import TIDY_S, WAITING_LIMIT, Collector
from vedette.workshop.prepared import Pictures, Prepared, float_input, picture_files

SPACING_S = 10.0
FRAMES = 18
HOURS = SPACING_S * CANDIDATES * FRAMES / 3600
CAR = Detection("car", 2, 0.9, Box(0.1, 0.1, 0.5, 0.5))


def config(*, enabled: bool = True, camera: dict[str, Any] | None = None, **keys: Any) -> Config:
    collect = {"enabled": enabled, "frames": FRAMES, "hours": HOURS, **keys}
    return Config.model_validate({"collect": collect, "camera": camera or {}})


class Opener:
    """The detector that runs, with its scaling; None: it was closed."""

    def __init__(self, scaling: Scaling | None = None) -> None:
        self.detector: Any = SimpleNamespace(scaling=scaling)

    def detector_of(self, sha256: str) -> Any:
        return self.detector

    def limits(self) -> Limits:
        return Limits(0.5, 0.5, 100, {"dog": 0.8}, frozenset(), frozenset())


class Rig:
    """A collector on a state folder. Its thread does not run: the test takes its turns."""

    def __init__(self, folder: Path, settings: Config, opener: Opener | None = None) -> None:
        self.clock = FakeClock()
        self.state = folder
        self.opener = opener or Opener()
        self.wanted = settings
        self.reloader = Reloader(Loaded(settings), lambda: Loaded(self.wanted))
        self.collector = Collector(settings, folder, self.clock, cast(DetectorOpener, self.opener), self.reloader)
        self.reloader.parts = (self.collector,)
        self._chance = np.random.default_rng(7)
        self.turn()

    def turn(self) -> None:
        self.collector._turn(self.collector._mailbox.take(0))

    def frame(self, width: int = 16, height: int = 12) -> Frame:
        """A frame of noise, captured now."""
        pixels = self._chance.integers(0, 256, (height, width, 3)).astype(np.uint8)
        return replace(make_frame(self.clock, width=width, height=height), pixels=pixels.data)

    def feed(self, seconds: float = SPACING_S, *found: Detection, frame: Frame | None = None) -> bool:
        """Give a result after so many seconds; returns whether its frame was considered."""
        self.clock.advance(seconds)
        result = make_result(frame or self.frame(), found)
        self.collector.on_result(replace(result, roi=region_of(self.reloader.config.camera.roi)))
        considered = len(self.collector._mailbox) == 1
        self.turn()
        return considered

    def asks(self, what: str) -> VedetteError | None:
        """Send a request; returns its answer."""
        answers: list[VedetteError | None] = []
        self.collector.request(what, answers.append)
        self.turn()
        assert len(answers) == 1
        return answers[0]

    def reload(self, settings: Config) -> None:
        self.wanted = settings
        self.reloader.reload()
        self.turn()

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.state / FOLDER).glob("*.png"))

    @property
    def health(self) -> dict[str, Any]:
        return dict(self.collector.health() or {})


def test_off_means_nothing_at_all(tmp_path: Path) -> None:
    """No thread, no copy of a frame (its pixels are gone already), no file, and no command can change that."""
    clock = FakeClock()
    settings = Config()
    collector = Collector(settings, tmp_path, clock, cast(DetectorOpener, Opener()),
                          Reloader(Loaded(settings), lambda: Loaded(Config())))
    collector.start()
    gone = memoryview(bytearray(6)).cast("B", (1, 2, 3))
    late = replace(make_frame(clock), pixels=gone)
    gone.release()
    collector.on_result(make_result(late))
    answers: list[VedetteError | None] = []
    for what in ("start", "stop", "clear"):
        collector.request(what, answers.append)
    assert [type(answer) for answer in answers] == [UsageError] * 3
    assert not collector.worker.alive
    assert not collector.is_due()
    assert (collector.health(), collector.reasons(), list(tmp_path.iterdir())) == (None, {}, [])
    assert collector.stop(PATIENCE_S)


def test_frames_are_considered_evenly(tmp_path: Path) -> None:
    """One in each spacing, and for that one the gate opens. Frames without detections count like any others."""
    rig = Rig(tmp_path, config())
    for _ in range(9):
        rig.feed(SPACING_S, CAR)        # cars are no news any more
    assert [rig.feed(SPACING_S / 4, CAR) for _ in range(8)] == [False, False, False, True] * 2
    assert not rig.collector.is_due()
    rig.clock.advance(SPACING_S)
    assert rig.collector.is_due()
    before = len(rig.pictures)
    assert rig.feed(0)
    assert len(rig.pictures) == before + 1


@pytest.mark.parametrize("found", [replace(CAR, score=0.55), replace(CAR, label="dog", score=0.85),
                                   replace(CAR, label="bicycle")], ids=["doubtful", "its own threshold", "a new label"])
def test_doubtful_scores_and_new_labels_are_considered_more_often(tmp_path: Path, found: Detection) -> None:
    """Ten times as often as others."""
    rig = Rig(tmp_path, config())
    for label in ("car", "dog"):
        for _ in range(6):
            rig.feed(SPACING_S, replace(CAR, label=label))
    for plain in (CAR, replace(CAR, label="dog", score=0.95)):
        assert not any(rig.feed(SPACING_S / 20, plain) for _ in range(2))
    assert [rig.feed(SPACING_S / 20, CAR, found) for _ in range(6)] == [True, False] * 3


def test_only_what_the_model_saw(tmp_path: Path) -> None:
    """No results of a fallback, none of a model that was closed meanwhile."""
    rig = Rig(tmp_path, config())
    rig.clock.advance(1)
    rig.collector.on_result(replace(make_result(rig.frame()), source="motion"))
    rig.collector.on_result(replace(make_result(rig.frame()), source="cloud", model=None))
    rig.opener.detector = None
    rig.collector.on_result(make_result(rig.frame()))
    assert not len(rig.collector._mailbox)


@pytest.mark.parametrize("scaled", [True, False], ids=["scaled by the camera", "scaled by the collector"])
@pytest.mark.parametrize("roi", [WHOLE, Box(0.25, 0.1, 0.9, 0.95)], ids=["whole", "region"])
def test_a_picture_gives_the_model_what_it_saw(tmp_path: Path, roi: Box, scaled: bool) -> None:
    """Prepared for calibration as it is, it has the values of the frame on the device, bars of the letterbox too."""
    spec = resolve(read_model(BOX_MODEL), DetectorConfig(model=BOX_MODEL))
    tensor = float_input(spec.input)
    view = np.empty(tensor.shape, np.float32)
    prepared = next(iter(Prepared([Rig(tmp_path, config()).frame(640, 360)], spec, roi)))
    writer = InputWriter(view, tensor, spec.input, color=spec.color, resize=spec.resize,
                         normalization=spec.normalization)
    rig = Rig(tmp_path, config(camera={"roi": list(roi)}))
    frame = rig.frame(640, 360)
    writer.write(frame, roi)
    np.testing.assert_array_equal(view, prepared)
    rig.opener.detector.scaling = scaling = writer.scaling
    assert scaling is not None
    if scaled:
        rgb = writer._scaled(frame, writer.write(frame, roi).source)
        frame = replace(frame, scaling=scaling, scaled=np.ascontiguousarray(rgb).data)
    rig.feed(1, CAR, frame=frame)
    assert len(rig.pictures) == 1
    [values] = Prepared(Pictures(picture_files(tmp_path / FOLDER)), spec)
    np.testing.assert_array_equal(values, prepared)


def test_a_frame_of_the_size_of_the_input(tmp_path: Path) -> None:
    """Nothing is scaled: the region is the picture. The part of an older scaling is not used."""
    rig = Rig(tmp_path, config(camera={"roi": [0.5, 0, 1, 1]}))
    frame = rig.frame(16, 12)
    old = replace(frame, scaling=Scaling(0, 0, 16, 12, 4, 3), scaled=memoryview(bytes(36)).cast("B", (3, 4, 3)))
    rig.feed(1, frame=old)
    [picture] = Pictures(rig.pictures)
    np.testing.assert_array_equal(np.asarray(picture.pixels), np.asarray(frame.pixels)[:, 8:])


def test_it_is_complete_after_its_hours(tmp_path: Path) -> None:
    """Then no frame is considered any more, until a command starts it again. Its pictures stay."""
    few = 3
    rig = Rig(tmp_path, config(frames=few, hours=HOURS * few / FRAMES))
    for _ in range(CANDIDATES * few + 1):
        rig.feed()
    assert rig.health == {"state": "complete", "pictures": few, "hours_left": None, "missed": 0,
                          "mb": round(sum(path.stat().st_size for path in rig.pictures) / 1e6, 3)}
    assert not rig.feed()
    assert rig.asks("start") is None
    assert (rig.health["state"], rig.health["hours_left"]) == ("collecting", round(HOURS * few / FRAMES, 3))
    assert len(rig.pictures) == few
    assert rig.feed()


def test_time_without_frames_does_not_count(tmp_path: Path) -> None:
    """A pause of a day leaves the hours as they were, but for a minute at most."""
    rig = Rig(tmp_path, config())
    rig.feed()
    rig.feed(86_400)
    assert rig.health["hours_left"] == pytest.approx(HOURS - TIDY_S / 3600, abs=0.001)


def test_stopped_and_cleared_by_commands(tmp_path: Path) -> None:
    """A stop holds over a restart. `clear` deletes the pictures."""
    rig = Rig(tmp_path, config())
    rig.feed()
    assert rig.asks("stop") is None
    again = Rig(tmp_path, config())
    assert (again.health["state"], again.feed(), len(again.pictures)) == ("stopped", False, 1)
    assert again.asks("clear") is None
    assert (again.health["state"], again.pictures) == ("stopped", [])
    assert again.asks("start") is None
    assert again.feed()


def test_switched_off_old_pictures_are_still_deleted(tmp_path: Path) -> None:
    """The thread runs as long as there are some. Nothing new comes."""
    Rig(tmp_path, config()).feed()
    off = Rig(tmp_path, config(enabled=False))
    assert not off.feed()
    assert (off.health["state"], off.health["pictures"], off.health["hours_left"]) == ("off", 1, None)
    off.collector.start()
    assert off.collector.worker.alive
    off.clock.advance(15 * 86_400)
    assert wait_until(lambda: not off.pictures)
    assert off.collector.stop(PATIENCE_S)
    assert off.collector.worker.failure is None
    assert off.collector.health() is None


def test_a_reload_switches_it_on_and_off(tmp_path: Path) -> None:
    """Without a restart."""
    rig = Rig(tmp_path, config(enabled=False))
    rig.collector.start()
    rig.reload(config())
    assert rig.collector.worker.alive
    assert wait_until(lambda: rig.collector._wanted)
    rig.wanted = config(enabled=False)
    rig.reloader.reload()
    assert wait_until(lambda: not rig.collector._wanted)
    assert rig.collector.stop(PATIENCE_S)


@pytest.mark.parametrize("camera", [{"masks": [[[0, 0], [1, 0], [1, 1]]]}, {"rotate": 90}])
def test_other_masks_delete_the_pictures_at_once(tmp_path: Path, camera: dict[str, Any]) -> None:
    """The reload says what shall not be seen. Until the restart that hides it, there are no pictures."""
    rig = Rig(tmp_path, config())
    rig.feed()
    rig.reload(config(camera=camera))
    assert rig.pictures == []
    assert not rig.feed()
    assert Rig(tmp_path, config(camera=camera)).feed()
    rig.reload(config())
    assert rig.feed()


def test_another_region_deletes_the_pictures_and_is_collected_at_once(tmp_path: Path) -> None:
    """New pictures show only the new region, also after a restart. One of a frame under way is not kept."""
    rig = Rig(tmp_path, config())
    rig.feed()
    rig.reload(config(camera={"roi": [0.5, 0, 1, 1]}))
    assert rig.pictures == []
    rig.clock.advance(SPACING_S)
    rig.collector.on_result(make_result(rig.frame()))       # detected in the old region
    rig.turn()
    assert rig.pictures == []
    rig.clock.advance(SPACING_S)
    frame = rig.frame(16, 12)
    old = Scaling(0, 0, 16, 12, 4, 3)       # of a detector that has not seen a frame since the reload
    rig.opener.detector.scaling = old
    rig.feed(frame=replace(frame, scaling=old, scaled=memoryview(bytes(36)).cast("B", (3, 4, 3))))
    [picture] = Pictures(rig.pictures)
    np.testing.assert_array_equal(np.asarray(picture.pixels), np.asarray(frame.pixels)[:, 8:])
    assert len(Rig(tmp_path, config(camera={"roi": [0.5, 0, 1, 1]})).pictures) == 1
    assert Rig(tmp_path, config()).pictures == []


@pytest.mark.parametrize("camera", [{"masks": [[[0, 0], [1, 0], [1, 1]]]}, {"roi": [0, 0, 0.5, 1]}])
def test_a_frame_under_way_when_the_masks_or_the_region_change(tmp_path: Path, camera: dict[str, Any]) -> None:
    """It was copied before the reload, and is dropped."""
    rig = Rig(tmp_path, config())
    rig.clock.advance(1)
    rig.collector.on_result(make_result(rig.frame()))
    rig.reload(config(camera=camera))
    assert rig.pictures == []


def test_a_disk_that_fails_is_named_and_tried_again(tmp_path: Path) -> None:
    """Frames are not copied meanwhile, and commands have their answer."""
    rig = Rig(tmp_path, config())
    (tmp_path / FOLDER).write_text("no folder")
    rig.feed()
    assert "Not a directory" in rig.collector.reasons()["collect_failed"]
    assert isinstance(rig.asks("clear"), StateUnusable)
    assert not rig.feed()
    (tmp_path / FOLDER).unlink()
    rig.clock.advance(TIDY_S)
    rig.turn()
    assert rig.collector.reasons() == {}
    assert rig.feed()
    assert len(rig.pictures) == 1


def test_requests_that_wait_at_the_end_are_answered(tmp_path: Path) -> None:
    """Each has one answer, also if the disk does not answer; then not many wait."""
    rig = Rig(tmp_path, config())
    answers: list[VedetteError | None] = []
    for _ in range(WAITING_LIMIT + 1):
        rig.collector.request("start", answers.append)
    assert [str(answer) for answer in answers] == ["8 requests are waiting already: the disk does not answer"]
    assert rig.collector.stop(PATIENCE_S)
    assert [type(answer) for answer in answers] == [StateUnusable] * (WAITING_LIMIT + 1)


def test_a_thread_that_is_too_slow_costs_pictures_only(tmp_path: Path) -> None:
    """What it cannot keep up with is replaced and counted."""
    rig = Rig(tmp_path, config())
    for _ in range(5):
        rig.clock.advance(SPACING_S)
        rig.collector.on_result(make_result(rig.frame()))
    assert rig.collector.missed == rig.health["missed"] == 4
    rig.collector.worker.beat(1e-9)
    assert rig.collector.reasons() == {}, "it does not run"
