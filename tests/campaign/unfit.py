"""Campaign `unfit`: what we say of operations that do not fit is what the conversion tools then do.

    .venv/bin/python tests/campaign/unfit.py --state .campaign/unfit.json

Small networks with operations that do not fit, as ONNX, as `.pt2` of PyTorch, as `.keras` and as SavedModels. Each one
is read by `unfit_in`, and then given to the real tool in spite of that: onnx2tf, litert-torch or TensorFlow, in its own
environment. What becomes of it is opened as the device does, run, and quantized to INT8. Where we said "refused", one
of these steps must fail, else none. Where we named tensors to cut at, the file that ends there must fit and be INT8 in
every operation. The operations that the converter has must be those that we know. It needs pip's registry for
environments that are not there, some 5 GB. Resumable by network. One JSON line; 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.models import unfit_onnx
from vedette.workshop import environments
from vedette.workshop.convert import ROUTES, SCRIPTS
from vedette.workshop.inputs import Kind
from vedette.workshop.unfit import unfit_in
from vedette.workshop.unfit.onnx import KNOWN
from vedette.workshop.unfit.rules import RULES, UNKNOWN

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 900
ENVIRON = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
JUDGE = """
import json, sys
from pathlib import Path
import numpy as np
from vedette.tflite.file import read_model
from vedette.vision.geometry import InputShape
from vedette.vision.interpreter import Interpreter
from vedette.workshop import graph, ranges, schemes
path = Path(sys.argv[1])
model = read_model(path)
seen = [str(each) for each in model.inputs]
image = model.inputs[0]
if (len(model.inputs) != 1 or InputShape.of(image.shape) is None or min(image.shape[1:3]) < 3
        or image.dtype != "float32"):
    raise SystemExit(f"no picture: {seen}")
if any(tensor.dtype in ("int8", "uint8") for tensor in model.tensors):
    raise SystemExit("quantised already")
first = Interpreter(path)
noise = np.random.default_rng(0)
for _ in range(3):
    first.input()[:] = noise.random(image.shape)
    first.invoke()
net = graph.read(path.read_bytes())
net.add_signature()
pictures = [noise.random(image.shape).astype(np.float32) for _ in range(4)]
small = path.with_suffix(".int8")
small.write_bytes(schemes.apply(net, ranges.measure(net, pictures, None, str), "static"))
quantized = read_model(small)
second = Interpreter(small)
second.input()[:] = 0
second.invoke()
kinds = {tensor.index: tensor.dtype for tensor in quantized.tensors}
print(json.dumps({"float_ops": sorted({op.name for op in quantized.ops if op.name != "DEQUANTIZE" and op.outputs
                                       and kinds[op.outputs[0]] == "float32"}),
                  "xnnpack": round(second.xnnpack_share, 3)}))
"""
KNOWN_TO_TOOL = """
import json
from onnx2tf.tflite_builder import op_registry
print(json.dumps(op_registry.get_supported_onnx_ops()))
"""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def make_inputs(folder: Path) -> list[tuple[Kind, Path]]:
    """Write the networks, and return each with its kind."""
    for tool in ("onnx", "torch", "keras"):
        (folder / tool).mkdir(parents=True, exist_ok=True)
    for name, make in {**unfit_onnx.GRAPHS, "plain": unfit_onnx.plain}.items():
        (folder / "onnx" / f"{name}.onnx").write_bytes(make())
    for tool, kind in (("litert-torch", "torch"), ("tensorflow", "keras")):
        if not (folder / kind / "ready").exists():
            script = ROOT / "tests" / "support" / "models" / f"unfit_{kind}.py"
            subprocess.run([environments.python_of(tool, say), script, folder / kind], check=True, env=ENVIRON,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (folder / kind / "ready").touch()
    found: list[tuple[Kind, Path]] = [("onnx", path) for path in sorted((folder / "onnx").glob("*.onnx"))]
    found += [("exported-program", path) for path in sorted((folder / "torch").glob("*.pt2"))]
    found += [("keras", path) for path in sorted((folder / "keras").glob("*.keras"))]
    return found + [("saved-model", path) for path in sorted((folder / "keras").iterdir()) if path.is_dir()]


def converted(kind: Kind, source: Path, out: Path, cut: tuple[str, ...] = ()) -> str:
    """Let the tool convert; returns why it did not, or nothing."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "float.tflite").unlink(missing_ok=True)
    route = ROUTES[kind]
    done = subprocess.run([environments.python_of(route.tool, say), "-I", SCRIPTS / route.script, source, out, "-",
                           kind, *cut], cwd=out, capture_output=True, text=True, timeout=WITHIN_S, env=ENVIRON)
    return "" if done.returncode == 0 and (out / "float.tflite").exists() else last_line(done.stderr)


def outcome(kind: Kind, source: Path, out: Path, cut: tuple[str, ...] = ()) -> dict[str, Any]:
    """What becomes of a network: refused, with the step and the reason, or what stays float in INT8."""
    if failure := converted(kind, source, out, cut):
        return {"refused": "converter", "reason": failure}
    done = subprocess.run([sys.executable, "-c", JUDGE, out / "float.tflite"], capture_output=True, text=True,
                          timeout=WITHIN_S, env=ENVIRON, cwd=ROOT)
    if done.returncode != 0:
        return {"refused": "device or quantizer", "reason": last_line(done.stderr)}
    return {"refused": None, **json.loads(done.stdout.splitlines()[-1]),
            "unfit": [unfit.op for unfit in unfit_in(out / "float.tflite")]}


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()] or ["nothing was written"]
    return lines[-1].strip()[:300]


def case(kind: Kind, source: Path, out: Path) -> dict[str, Any]:
    said = unfit_in(source)
    found: dict[str, Any] = {"said": [f"{unfit.op}: {unfit.way_out}" for unfit in said],
                             "refused": any(unfit.refused for unfit in said), "became": outcome(kind, source, out)}
    cut = next((unfit.cut for unfit in said if unfit.cut), ())
    if cut and kind == "onnx":
        found["cut"] = {"at": list(cut), **outcome(kind, source, out, cut)}
    return found


def problems(found: dict[str, Any]) -> list[str]:
    wrong = []
    if found["refused"] != (found["became"]["refused"] is not None):
        wrong.append(f"said refused: {found['refused']}, but it became {found['became']}")
    if "cut" in found and (found["cut"]["refused"] or found["cut"]["float_ops"] or found["cut"]["unfit"]):
        wrong.append(f"cut off, it became {found['cut']}")
    return wrong


def unknown_operations() -> list[str]:
    """The operations of ONNX that onnx2tf has and we do not know, or that we count on and it has not."""
    done = subprocess.run([environments.python_of("onnx2tf", say), "-c", KNOWN_TO_TOOL], capture_output=True, text=True,
                          timeout=WITHIN_S, check=True)
    theirs = set(json.loads(done.stdout.splitlines()[-1]))
    missing = {name for name in KNOWN if name not in theirs} - {"Constant"}
    return sorted(missing | {name for name in theirs if name not in KNOWN and RULES.get(name, UNKNOWN) is UNKNOWN})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    args = parser.parse_args()
    state: dict[str, Any] = json.loads(args.state.read_text()) if args.state.exists() else {}
    folder = args.state.absolute().parent / "unfit"
    for kind, source in make_inputs(folder):
        name = f"{kind} {source.stem}"
        if name not in state:
            state[name] = case(kind, source, folder / "out" / kind / source.stem)
            say(f"{name}: {json.dumps(state[name])}")
            args.state.write_text(json.dumps(state, indent=1))
    wrong = {name: each for name, found in state.items() if (each := problems(found))}
    if unknown := unknown_operations():
        wrong["operations"] = unknown
    print(json.dumps({"networks": len(state), "refused": sum(found["refused"] for found in state.values()),
                      "cut_off": sum("cut" in found for found in state.values()), "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
