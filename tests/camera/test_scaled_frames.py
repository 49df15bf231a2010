"""Frames that come with the part that the detector has to scale: the same bytes, and only as a hint."""

import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.daemon.cameras import make_settings, running
from tests.support.fakes import make_pipeline
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import eventually
from vedette._lib.clock import SystemClock
from vedette._lib.worker import Worker
from vedette.camera.remote import RemoteCamera
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.types import WHOLE, Box, DetectionResult, Frame, Scaling
from vedette.vision.interpreter import Interpreter
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.vision.scale import Scaler

PART = Scaling(10, 20, 310, 220, 64, 48)


def next_scaled(camera: RemoteCamera, part: Scaling | None) -> Frame:
    """Take frames until one has the requested part. The caller releases it."""
    def take() -> Frame | None:
        frame = camera.take(1)
        if frame is None or frame.scaling == part:
            return frame
        camera.release(frame)
        return None
    return eventually(take)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A folder of pictures of noise."""
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    return tmp_path


@pytest.mark.parametrize("part", [PART, Scaling(0, 0, 320, 240, 100, 40), Scaling(0, 0, 20, 20, 200, 200)])
def test_the_child_scales_as_the_detector_would(noise: Path, part: Scaling) -> None:
    """The part that comes with a frame equals the one scaled here from the same frame, both smaller and larger."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(part)
        frame = next_scaled(camera, part)
        here = np.empty((part.height, part.width, 3), np.uint8)
        Scaler(part).scale(np.asarray(frame.pixels), here)
        assert np.array_equal(np.asarray(frame.scaled), here[..., ::-1])      # RGB
        camera.release(frame)


def test_the_camera_goes_over_to_the_region_of_a_reload(noise: Path, tmp_path: Path) -> None:
    """In between, the detector scales itself. Each part that comes with a frame is the one it is called."""
    folder = tmp_path / "model"
    folder.mkdir()
    path, right, seen = write_model(folder), Box(0.5, 0, 1, 1), set[tuple[Box, Scaling | None]]()
    model = read_model(path)
    detector = LocalDetector(Interpreter(path), model, resolve(model, DetectorConfig(resize="letterbox")))

    def note(result: DetectionResult) -> None:
        frame = result.frame
        seen.add((result.roi, frame.scaling))
        if frame.scaling is not None:
            here = np.empty((frame.scaling.height, frame.scaling.width, 3), np.uint8)
            Scaler(frame.scaling).scale(np.asarray(frame.pixels), here)
            assert np.array_equal(np.asarray(frame.scaled), here[..., ::-1])
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        pipeline = make_pipeline(camera, lambda: detector, SystemClock(), note, max_frame_age_ms=1e9, every_frame=True)
        worker = Worker("detect", pipeline.run)
        worker.start()
        eventually(lambda: (WHOLE, Scaling(0, 0, 320, 240, 32, 24)) in seen)
        detector.reload(DetectorConfig(), right)
        eventually(lambda: (right, Scaling(160, 0, 320, 240, 21, 32)) in seen)
        assert worker.stop(PATIENCE_S)
        assert worker.failure is None
    assert {scaling for roi, scaling in seen if roi == right} <= {
        Scaling(0, 0, 320, 240, 32, 24), Scaling(160, 0, 320, 240, 21, 32)}


def test_the_requested_scaling_outlives_the_child(noise: Path) -> None:
    """A child that replaces a killed one gets the requested scaling too."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(PART)
        camera.release(next_scaled(camera, PART))
        pid = camera.child_pid
        os.kill(pid, signal.SIGKILL)

        def from_another_child() -> bool:
            frame = camera.take(1)
            if frame is not None:
                scaling = frame.scaling
                camera.release(frame)
                return camera.child_pid != pid and scaling == PART
            return False
        eventually(from_another_child)


@pytest.mark.parametrize("part", [Scaling(0, 0, 321, 240, 64, 48), Scaling(0, 0, 320, 240, 9000, 9000), None])
def test_a_scaling_that_is_not_possible_is_left_out(noise: Path, part: Scaling | None) -> None:
    """With a part outside the frame, or one too large for the slot, the frame comes without the hint."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(PART)
        camera.release(next_scaled(camera, PART))
        camera.scale_to(part)
        frame = next_scaled(camera, None)
        assert frame.scaled is None
        assert (frame.width, frame.height) == (320, 240)
        camera.release(frame)
