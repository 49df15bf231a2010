"""Compares LiteRT and tflite-runtime for each model, as the daemon does where both are installed.

    make setup-tflite
    python bench/runtimes.py [MODEL...] [--threads 1] [--repeat 3]

Without models: the model in the box, and those in ../shared/real where it is there. With one thread, processor time is
measured; with more, the processor must have nothing else to do. Each line has the median of the repeated measurements.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.both_runtimes import ROOT, both_runtimes
from vedette.detect.box_model import BOX_MODEL
from vedette.errors import ModelError
from vedette.tflite.file import digest
from vedette.vision.interpreter import PACKAGES
from vedette.vision.model_child import TIMEOUT_S
from vedette.vision.probe import MEMORY_BYTES, proof_request
from vedette.vision.runtime_choice import Measured, decide, measure

SHARED = ROOT.parent / "shared" / "real" / "models"


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    if not all(map(importlib.util.find_spec, PACKAGES.values())):
        sys.exit(_again_with_both())
    print(f"{'model':48} {'LiteRT ms':>10} {'tflite ms':>10} {'ratio':>6} {'identical':>10} {'golden':>7}  chosen")
    for model in args.models or [BOX_MODEL, *sorted(SHARED.glob("*.tflite"))]:
        request = proof_request(model, runtime="auto", threads=args.threads, memory_bytes=MEMORY_BYTES,
                                sha256=digest(model).sha256)
        try:
            found = [measure(request, TIMEOUT_S) for _ in range(args.repeat)]
        except ModelError as refusal:
            print(f"{model.name:48} {refusal}"[:160], flush=True)
            continue
        whole = Measured(statistics.median(one.litert_ms for one in found),
                         statistics.median(one.tflite_ms for one in found),
                         statistics.median(one.faster for one in found),
                         all(one.identical for one in found), found[0].golden)
        print(f"{model.name:48} {whole.litert_ms:10.3f} {whole.tflite_ms:10.3f} {whole.ratio:6.2f} "
              f"{whole.identical!s:>10} {'-' if whole.golden is None else str(whole.golden):>7}  "
              f"{decide(whole, '').runtime}", flush=True)


def _again_with_both() -> int | str:
    """Run this file with the environment that has both; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        both = both_runtimes(Path(folder))
        if both is None:
            return "needs both runtimes: run `make setup-tflite`, with Python 3.11"
        return subprocess.run([both.python, *sys.argv], env=both.environ, check=False).returncode


if __name__ == "__main__":
    main()
