"""`vedette model inspect` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.models import writer
from tests.support.models.mutation import REAL
from vedette.cli import main

pytestmark = pytest.mark.slow

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real models are not here")


@needs_real
def test_a_real_model_is_shown_completely(capsys: pytest.CaptureFixture[str]) -> None:
    """Tensors, operations, share, labels and the decoder with its reason are shown, and the exit code is 0."""
    assert main(["model", "inspect", str(REAL / "ssd_mobilenet_v1_coco_uint8_metadata.tflite")]) == 0
    printed = capsys.readouterr().out
    for expected in ("uint8 1x300x300x3", "float32 1x10x4", "CONV_2D 34", "labelmap.txt (661)", "95% of the graph",
                  "decoder     ssd", "op list (TFLite_Detection_PostProcess)", "labels      9"):
        assert expected in printed


@needs_real
def test_a_program_reads_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives the same as one object."""
    assert main(["model", "inspect", "--json", str(REAL / "yolo11n_224_coco_int8.tflite")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["decoder"], len(printed["labels"]), printed["refused"]) == ("yolov8", 80, None)
    assert printed["outputs"][0]["shape"] == [1, 84, 1029]
    assert 0.9 < printed["xnnpack_share"] < 1
    assert printed["decided_by"]["decoder"]


@needs_real
def test_a_refused_model_is_shown_as_far_as_possible(capsys: pytest.CaptureFixture[str]) -> None:
    """Three inputs are listed, the refusal is one line on standard error, the exit code is 65."""
    assert main(["model", "inspect", str(REAL / "lstm_three_inputs_unsupported.tflite")]) == 65
    out, err = capsys.readouterr()
    assert out.count("  input ") == 3
    assert "3 inputs" in err
    assert len(err.splitlines()) == 1


def test_a_model_that_cannot_run_is_shown_with_the_runtimes_message(tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    """A file that fails at invoke: its tensors and operations, then `refused` in the JSON and exit code 65."""
    path = tmp_path / "model.tflite"
    path.write_bytes(writer.reshape_by_input())
    assert main(["model", "inspect", "--json", str(path)]) == 65
    printed = json.loads(capsys.readouterr().out)
    assert printed["operations"] == {"RESHAPE": 1}
    assert printed["xnnpack_share"] is None
    assert str(path) in printed["refused"]


def test_escape_sequences_of_the_file_do_not_reach_the_terminal(tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    """A tensor named with escape sequences is shown with those replaced."""
    path = tmp_path / "model.tflite"
    path.write_bytes(writer.build(writer.Graph([writer.Tensor((4,), "int8", "\x1b[2Jx")], [], (0,), (0,))))
    assert main(["model", "inspect", str(path)]) == 65
    out, _ = capsys.readouterr()
    assert "?[2Jx int8 4" in out


def test_a_file_that_is_no_model_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A web page in place of a model: one line on standard error, nothing on standard output, exit code 65."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"<html>404</html>")
    assert main(["model", "inspect", str(path)]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert "a web page (HTML)" in err
    assert len(err.splitlines()) == 1
