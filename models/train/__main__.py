"""`python -m models.train`: draw the scenes, train, export to INT8, evaluate, write the model. A new run resumes an
interrupted one.

Invariants: the model replaces the one in the box only after its evaluation. The printed figures are those of the card.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")     # threads that spin take the other core from the other thread

import torch

from models.train.bundle import bundled
from models.train.fit import Fit, to_image
from models.train.int8 import calibrated, exported
from models.train.judge import HELD_OUT_DEMO, HELD_OUT_HARD, judge_file, judge_network
from models.train.scenes import held_out_demo, held_out_hard, training_scenes
from vedette.camera.street.objects import LABELS

HARD_SCENES, DEMO_SCENES = 14_040, 6_000
STEPS = 6_400
CALIBRATION_SCENES = 500


def main() -> None:
    """Make the model in the box."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".train"), help="scenes and checkpoints (2.3 GB)")
    parser.add_argument("--out", type=Path, default=Path("models/vedette-street.tflite"))
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    began = time.monotonic()
    scenes = training_scenes(args.folder, HARD_SCENES, DEMO_SCENES)
    print(f"{len(scenes)} scenes after {time.monotonic() - began:.0f} s", flush=True)
    network = Fit(len(LABELS), args.steps, args.folder / f"steps-{args.steps}.pt").run(scenes)
    print(f"trained after {time.monotonic() - began:.0f} s", flush=True)
    step = len(scenes) // CALIBRATION_SCENES
    graph, judged = args.folder / "graph.tflite", args.folder / "judged.tflite"
    graph.write_bytes(exported(network, calibrated(network, to_image(scenes.pixels[::step]))))
    content = bundled(graph)
    judged.write_bytes(content)
    figures = {"bytes": len(content), "seconds": round(time.monotonic() - began)}
    for name, held_out in (("hard", held_out_hard(HELD_OUT_HARD)), ("demo", held_out_demo(HELD_OUT_DEMO))):
        of_file, invoke_ms = judge_file(judged, held_out, len(LABELS))
        figures[name] = {"float": asdict(judge_network(network, held_out, len(LABELS))), "int8": asdict(of_file),
                         "invoke_ms": invoke_ms}
    print(json.dumps(figures, indent=1))
    os.replace(judged, args.out)  # noqa: PTH105 - Path.replace says the same; os.replace names the atomic call


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
