"""Campaign `deepstack_clients`: real clients of DeepStack and CodeProject.AI have the boxes of `vedette detect`.

    .venv/bin/python tests/campaign/deepstack_clients.py --state .campaign/deepstack_clients.json

Two packages of PyPI, `codeproject-ai-api` and `deepstack-python`, are installed into an environment of their own beside
the state. Viseron uses the same ones. Each client sends every image, with and without the name of a model. It sends
them with its key, and without one from a network that is allowed. Each answer must have the labels, scores and boxes
that `vedette detect` prints. An unknown key and a file that is no image must each raise the client's own error, never
give an empty list. `--model` and `--images` take others than those of the project. One JSON line; 1 when anything is
wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.network.detection_server import TOKEN, served

ROOT = Path(__file__).parents[2]
PACKAGES = ("codeproject-ai-api==0.1", "deepstack-python==0.9", "pillow")     # both import pillow and do not require it
CLIENT = """
import json, sys
from codeprojectai.core import CodeProjectAIException, CodeProjectAIObject
from deepstack.core import DeepstackException, DeepstackObject
port, key, lowest, *images = sys.argv[1:]
there = {"ip": "127.0.0.1", "port": int(port), "min_confidence": float(lowest), "timeout": 60}
clients = [DeepstackObject(api_key=key, custom_model=name, **there) for name in ("", "street")]
clients += [CodeProjectAIObject(custom_model=name, **there) for name in ("", "ipcam-general")] if not key else []
for client in clients:
    for image in images:
        try:
            answer = client.detect(open(image, "rb").read())
        except (CodeProjectAIException, DeepstackException) as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps([type(client).__name__, image, answer]), flush=True)
"""


def environment(folder: Path) -> Path:
    """Install the clients once. Return the interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def printed(model: Path, images: list[Path], lowest: float) -> dict[str, list[str]]:
    """Return the lines of `vedette detect` by image."""
    done = subprocess.run([sys.executable, "-m", "vedette", "detect", "--model", model, "--score-threshold",
                           str(lowest), *images], capture_output=True, text=True, check=True)
    lines: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("  "):
            list(lines.values())[-1].append(line.strip())
        else:
            lines[line.partition(": ")[0]] = []
    return lines


def as_printed(answer: list[dict[str, Any]]) -> list[str]:
    return [f"{each['label']} {each['confidence']:.3f} at x {each['x_min']}-{each['x_max']}, "
            f"y {each['y_min']}-{each['y_max']}" for each in answer]


def asked(python: Path, url: str, key: str, lowest: float, images: list[Path]) -> list[tuple[str, str, Any]]:
    """Return the answer or the error of each client for each image."""
    done = subprocess.run([python, "-c", CLIENT, url.rpartition(":")[2], key, str(lowest), *images],
                          capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    python = environment(args.state.absolute().parent / "deepstack_clients")
    expected = printed(args.model, args.images, args.lowest)
    no_image = folder / "no_image.jpg"
    no_image.write_text("hello")
    limits = ("--model", str(args.model), "--score-threshold", str(args.lowest))
    with served(folder, *limits, "--token-file", str(folder / "tokens")) as url:
        good = asked(python, url, TOKEN, args.lowest, args.images)
        bad = [each for key in ("wrong", "") for each in asked(python, url, key, args.lowest, args.images)]
        bad += asked(python, url, TOKEN, args.lowest, [no_image])
    with served(folder, *limits, "--allow", "127.0.0.1") as url:
        good += asked(python, url, "", args.lowest, args.images)
        bad += asked(python, url, "", args.lowest, [no_image])
    wrong = [each for each in good if not isinstance(each[2], list) or as_printed(each[2]) != expected[each[1]]]
    wrong += [each for each in bad if not isinstance(each[2], str)]
    return {"images": len(expected), "boxes": sum(map(len, expected.values())), "answers": len(good),
            "errors": len(bad), "clients": sorted({each[0] for each in good}), "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "vedette-street.tflite")
    parser.add_argument("--images", type=Path, nargs="+", default=[ROOT / "models" / "scenes-demo.jpg",
                                                                   ROOT / "models" / "scenes-hard.jpg"])
    parser.add_argument("--lowest", type=float, default=0.4, help="lowest score")
    with tempfile.TemporaryDirectory() as folder:
        figures = run(parser.parse_args(), Path(folder))
    print(json.dumps(figures))
    return 1 if figures["wrong"] or not figures["boxes"] else 0


if __name__ == "__main__":
    sys.exit(main())
