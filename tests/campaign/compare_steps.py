"""Campaign `compare_steps`: torch, TorchScript, ONNX Runtime, a device and results are compared by the command.

    .venv/bin/python tests/campaign/compare_steps.py --state .campaign/compare_steps.json

One detector is written for each framework in its own environment: average pooling, as tests/support has it in INT8. All
of them must agree, and so must a real `vedette serve` and the output of `vedette detect`. Then one step is changed on
purpose: swapped channels, another normalization, boxes with y first, boxes in pixels. That step must be named, with its
cause. With the float network of the model in the box (models/README.md says how to make it), torch, ONNX Runtime and
the float file must be within 0.01 px of one another. Needs the network once, for the environments. Resumable by case.
One JSON line; 1 when a case is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.models import bundles
from tests.support.waiting.bounded_popen import BoundedPopen
from vedette.detect.box_model import BOX_MODEL
from vedette.vision import images
from vedette.workshop.environments import python_of

ROOT = Path(__file__).parents[2]
FLOAT = ROOT / ".train" / "float"
MOST_PX = 0.01
TORCH = """
import sys, torch
class Net(torch.nn.Module):
    def forward(self, x):
        {change}
        return torch.nn.functional.avg_pool2d(x, 8).permute(0, 2, 3, 1)
image = torch.zeros(1, 3, 16, 16)
torch.export.save(torch.export.export(Net().eval(), (image,)), sys.argv[1])
torch.jit.trace(Net().eval(), image).save(sys.argv[2])
"""
ONNX = """
import sys, onnx
from onnx import TensorProto, helper
pool = helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[8, 8], strides=[8, 8])
turn = helper.make_node("Transpose", ["mean"], ["heat"], perm=[0, 2, 3, 1])
graph = helper.make_graph(
    [pool, turn], "net", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
    [helper.make_tensor_value_info("heat", TensorProto.FLOAT, None)])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), sys.argv[1])
"""
CHANGES = {"": "", "swapped": "x = x.flip(1)", "normalized": "x = (x + 1) / 2"}


class Bench:
    """The steps in a folder, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = bundles.pack(folder)
        self.pictures = folder / "pictures"
        self.pictures.mkdir()
        for name, size in (("garden.png", (64, 40)), ("yard.png", (48, 60)), ("lawn.png", (80, 80))):
            path = bundles.picture(self.pictures, name, size)
            pixels = np.array(images.read(path))
            upper = pixels[:len(pixels) // 2]
            upper[:] = upper[:, ::-1].copy()       # off the diagonal, so that an order shows
            cv2.imwrite(str(path), pixels)
        torch = python_of("torch", note)
        for name, change in CHANGES.items():
            subprocess.run([torch, "-I", "-c", TORCH.format(change=change or "pass"), folder / f"net{name}.pt2",
                            folder / f"net{name}.pt"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([python_of("onnx", note), "-I", "-c", ONNX, folder / "net.onnx"], check=True)
        lines = run("detect", "--model", self.bundle, "--json", *sorted(self.pictures.iterdir())).splitlines()
        self.results = list(map(json.loads, lines))

    def written(self, name: str, change: Any = None) -> Path:
        """Write the results, with changed boxes."""
        path = self.folder / name
        found = [{**each, "detections": [{**seen, "box": change(seen["box"], each["frame"]) if change else seen["box"]}
                                         for seen in each["detections"]]} for each in self.results]
        path.write_text("".join(f"{json.dumps(each)}\n" for each in found))
        return path


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(*arguments: object) -> str:
    return subprocess.run([sys.executable, "-m", "vedette", *map(str, arguments)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def compared(*arguments: object) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(run("model", "compare", *arguments, "--json"))
    return values


def y_first(box: list[float], _frame: dict[str, int]) -> list[float]:
    xmin, ymin, xmax, ymax = box
    return [ymin, xmin, ymax, xmax]


def in_pixels(box: list[float], frame: dict[str, int]) -> list[float]:
    return [edge * size for edge, size in zip(box, (frame["width"], frame["height"]) * 2, strict=True)]


def all_agree(bench: Bench) -> str | None:
    """Compare every kind of step, none of them changed; returns what is wrong."""
    folder = bench.folder
    with BoundedPopen([sys.executable, "-m", "vedette", "serve", "--model", bench.bundle, "--port", "0"],
                      stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        url = next(line.split()[-1] for line in server.stderr if line.startswith("serving on"))
        steps = [folder / "net.pt2", folder / "net.pt", folder / "net.onnx", bench.bundle, url,
                 bench.written("all.jsonl")]
        found = compared(*steps, "--images", bench.pictures)
        server.terminate()
    wrong = [step for step in found["steps"] if step["f1"] != 1 or step["breaks"]]
    kinds = [step["kind"] for step in found["steps"]]
    if kinds != ["torch", "torch", "onnx", "tflite", "device", "results"] or wrong:
        return f"{kinds}: {wrong}"
    return None


def broken(bench: Bench, step: Path, cause: str) -> str | None:
    """Compare a step that is changed with those that are not; returns what is wrong."""
    found = compared(bench.folder / "net.onnx", bench.bundle, step, "--images", bench.pictures)
    named = found["steps"][-1]["cause"] or ""
    return None if found["breaks_at"] == "C" and named.startswith(cause) else f"{found['breaks_at']}: {named}"


def street() -> str | None:
    """Compare the float networks of the model in the box with its file; returns what is wrong."""
    steps = [FLOAT / name for name in ("street.pt2", "street.onnx", "street.tflite")]
    if not all(step.exists() for step in steps):
        note("the float network of the model in the box is not there; models/README.md says how to make it")
        return None
    found = compared(*steps, BOX_MODEL, "--source", "synthetic", "--frames", 50)
    note(json.dumps([{key: step[key] for key in ("name", "detections", "f1", "box_px", "score_difference")}
                     for step in found["steps"]]))
    exact = [step for step in found["steps"][:3] if step["f1"] == 1 and step["box_px"] <= MOST_PX]
    return None if len(exact) == 3 and found["breaks_at"] is None else str(found["steps"])


def result_of(case: str, bench: Bench) -> str | None:
    folder = bench.folder
    match case:
        case "all agree":
            return all_agree(bench)
        case "swapped channels in torch":
            return broken(bench, folder / "netswapped.pt2", "color: it agrees with bgr, but runs with rgb")
        case "swapped channels in TorchScript":
            return broken(bench, folder / "netswapped.pt", "color: it agrees with bgr, but runs with rgb")
        case "another normalization":
            return broken(bench, folder / "netnormalized.pt2", "normalization: it agrees with mean 127.5, std 127.5")
        case "y first":
            return broken(bench, bench.written("y.jsonl", y_first), "box order: y stands before x")
        case "pixels":
            return broken(bench, bench.written("px.jsonl", in_pixels), "boxes in pixels of the picture")
        case _:
            return street()


CASES = ("all agree", "swapped channels in torch", "swapped channels in TorchScript", "another normalization",
         "y first", "pixels", "street")


def main() -> int:
    """Run the cases that are left; returns 1 when one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path(".campaign/compare_steps.json"))
    parser.add_argument("--cache", type=Path, help="folder of the environments (default: beside the state)")
    args = parser.parse_args()
    args.state.parent.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str((args.cache or args.state.parent / "cache").absolute())
    done: dict[str, str | None] = json.loads(args.state.read_text()) if args.state.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for case in CASES:
            if case not in done:
                done[case] = result_of(case, bench)
                args.state.write_text(json.dumps(done))
                note(f"{case}: {done[case] or 'right'}")
    wrong = {case: found for case, found in done.items() if found}
    print(json.dumps({"campaign": "compare_steps", "cases": len(done), "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
