"""`vedette bench`: a slow camera, several models, and the times of the operations."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.support.daemon.running import vedette
from tests.support.fakes import FakeCamera, FakeClock, FakeDetector, make_frame
from vedette.cli.bench import _time_frames
from vedette.cli.bench_models import lines
from vedette.detect.box_model import BOX_MODEL
from vedette.types import Frame
from vedette.vision.images import encode_png
from vedette.vision.operator_profile import Row


class SlowCamera(FakeCamera):
    """Gives its first frame only to a caller who waits a minute."""

    def take(self, timeout_s: float) -> Frame | None:
        return None if timeout_s < 60 else super().take(timeout_s)


def test_a_camera_that_is_only_slow_is_waited_for() -> None:
    """An installation tries the new program so, and a slow board would refuse it for ever."""
    camera = SlowCamera([make_frame(FakeClock(), seq) for seq in (1, 2)])
    assert len(_time_frames(camera, FakeDetector(), 1, 1)[0]) == 1


def test_models_stand_side_by_side(tmp_path: Path) -> None:
    """Each has the usual figures, its size and its type, and its operations or why not; a broken one hides no other."""
    broken, picture = tmp_path / "broken.tflite", tmp_path / "picture.png"
    broken.write_bytes(b"nothing")
    picture.write_bytes(encode_png(np.full((64, 64, 3), 90, np.uint8).data, 64))
    done = vedette("bench", "--ops", "--json", "--model", broken, "--model", BOX_MODEL, "--source", picture,
                   "--threads", "1", "--warmup-runs", "0", "--num-runs", "2", folder=tmp_path)
    figures = json.loads(done.stdout)
    assert (figures["model"], figures["type"]) == (str(BOX_MODEL), "INT8")
    assert figures["model_bytes"] == BOX_MODEL.stat().st_size
    assert figures["invoke_ms"]["median"] > 0 < figures["peak_rss_mb"]
    assert figures["ops"] or figures["ops_refused"]
    assert "broken.tflite" in done.stderr
    assert done.returncode == 65


def test_the_tables_are_for_people() -> None:
    """A line for each model, then a table for each one whose operations were measured."""
    figures = {"model": "a.tflite", "type": "INT8", "model_bytes": 587409, "xnnpack_share": 1.0, "peak_rss_mb": 76.4,
               "invoke_ms": {"median": 0.5, "p95": 0.56, "p99": 0.6}, "frame_ms": {"median": 1.05},
               "runtime": "litert", "runtime_version": "2.3.0", "threads": 2,
               "ops": [asdict(Row("Add (ND)", 12, 0.026, 0.027, 100.0, 100.0))]}
    other = {**figures, "model": "b.tflite", "type": "", "ops": None, "ops_refused": "no times"}
    assert list(lines([figures, other])) == [
        "model                 type      MB   invoke ms: median      p95  frame ms  xnnpack  peak MB",
        "a.tflite              INT8    0.59                0.50     0.56      1.05     100%       76",
        "b.tflite                 -    0.59                0.50     0.56      1.05     100%       76",
        "",
        "a.tflite: litert 2.3.0, 2 threads",
        "operation  count    min ms  median ms       %  cumulated %",
        "Add (ND)      12     0.026      0.027   100.0        100.0",
        "", "no times"]
