"""`vedette model convert`, from a network to an INT8 bundle that is compared with it."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("litert_quantizer", reason="the workshop needs litert-quantizer")

from tests.support.models.dequantised import dequantised
from vedette.camera.street.stills import stills
from vedette.cli import main
from vedette.config.models import DetectorConfig
from vedette.detect.box_model import BOX_MODEL
from vedette.tflite.file import read_model
from vedette.validate.verify import verify
from vedette.vision.model_spec import resolve
from vedette.workshop.convert import ROUTES, Route
from vedette.workshop.environments import digest


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of the drawn street."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for still in stills(8, seed=77):
        cv2.imwrite(str(folder / f"{still.frame.seq:02}.png"), np.asarray(still.frame.pixels))
    return folder


@pytest.mark.slow
def test_a_float_model_becomes_a_bundle_and_both_are_compared(tmp_path: Path, pictures: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no tool. What the command says of the model holds for both sides of the comparison."""
    network, labels, out = tmp_path / "net.tflite", tmp_path / "labels.txt", tmp_path / "out.tflite"
    network.write_bytes(dequantised(BOX_MODEL.read_bytes()))
    labels.write_text("\n".join(resolve(read_model(BOX_MODEL), DetectorConfig(model=BOX_MODEL)).labels))
    command = ["model", "convert", str(network), "--images", str(pictures), "-o", str(out), "--labels", str(labels),
               "--resize", "letterbox", "--keep-float", "none", "--json"]
    assert main(command) == 0
    quantized, compared = map(json.loads, capsys.readouterr().out.splitlines())
    assert quantized["verified"]
    assert verify(out).passed
    assert [step["name"] for step in compared["steps"]] == ["float-net.tflite", "out.tflite"]
    assert compared["steps"][1]["f1"] > 0.9


@pytest.mark.slow
def test_a_network_that_cannot_be_run_here_is_left_out_of_the_comparison(
        tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of torch cannot be made. The bundle is there, and compared with the float model."""
    cache = tmp_path / "cache/vedette/environments"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = cache / f"litert-torch-{digest('litert-torch')}/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (cache / "torch.lock").mkdir()
    script, network, floating = tmp_path / "script.py", tmp_path / "net.pt", tmp_path / "float.tflite"
    script.write_text(f"import shutil, sys; shutil.copy({str(floating)!r}, sys.argv[2] + '/float.tflite')")
    monkeypatch.setitem(ROUTES, "module", Route("litert-torch", str(script)))
    floating.write_bytes(dequantised(BOX_MODEL.read_bytes()))
    with zipfile.ZipFile(network, "w") as archive:
        archive.writestr("net/data.pkl", b"cnet\nNet\n.")
    (tmp_path / "labels.txt").write_text("person\nbicycle\ncar\ndog\nparcel\ncone\n")
    assert main(["model", "convert", str(network), "--images", str(pictures), "-o", str(tmp_path / "out.tflite"),
                 "--labels", str(tmp_path / "labels.txt"), "--keep-float", "none", "--json", "--force"]) == 0
    out, err = capsys.readouterr()
    assert "warning: the comparison begins with the float model: torch: its environment cannot be made" in err
    assert [step["name"] for step in json.loads(out.splitlines()[1])["steps"]] == ["float-net.tflite", "out.tflite"]


@pytest.mark.parametrize(("name", "options", "code", "said"), [
    ("box.tflite", [], 65, "INT8 already"),
    ("box.tflite", ["--size", "320"], 64, "expected WIDTHxHEIGHT"),
    ("box.tflite", ["-o", "nowhere/out.tflite"], 64, "no such folder"),
    ("box.tflite", ["--images", "."], 65, "no image in it"),
    ("none.onnx", [], 65, "none.onnx: No such file or directory; expected a network")])
def test_a_mistake_shows_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                 name: str, options: list[str], code: int, said: str) -> None:
    """One line, the exit code, and no file."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "1.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (tmp_path / "box.tflite").write_bytes(BOX_MODEL.read_bytes())
    arguments = ["--images", str(pictures), "-o", "out.tflite", *options]
    assert main(["model", "convert", str(tmp_path / name), *arguments]) == code
    assert said in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
