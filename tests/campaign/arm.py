"""Campaign `arm`: everything a user does first, on emulated ARM boards, against what x86 answers.

    .venv/bin/python tests/campaign/arm.py --roots .campaign/arm --state .campaign/arm.json

Debian bookworm and trixie for arm64, and bookworm for armhf, are made by debootstrap once, in the folder `--roots`, and
entered by QEMU's user emulation. In each the project is installed from a copy, and then tried as a Cortex-A72 and a
Cortex-A76 (armhf: Cortex-A7): `doctor`; bytes of the prepared input, boxes and scores of models on PNG pictures,
against this machine's with the same runtime; `detect`; `model verify` of bundles that were packed here, and here one
that was packed there; `model install`; 20 results of `run` on the synthetic camera at a broker; an answer of `serve`.
The models of ../shared/real are compared where that folder is. Emulation cannot show speed, heat or real cameras. Needs
root, qemu-user-static, debootstrap and the network. Resumable by step, and what was wrong is tried again. One JSON
line; 1 when anything is wrong.

`--quick` takes a root in which an earlier run installed, and runs the code of this checkout there: the bytes of the
scaling, and the golden frames of the model in the box. It needs no network.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.arm.compare import compare, complaints, differences
from tests.support.arm.root import APT_PACKAGES, PROJECT, Root, missing, own_mounts
from tests.support.broker import mosquitto
from tests.support.broker.subscriber import listening
from tests.support.models.scalings import SCALINGS
from tests.support.network.ports import free_port, listens
from tests.support.waiting.until import wait_until
from vedette.camera.street.scene import HELD_OUT_SEED, Scene

PROCESSORS = {"bookworm-arm64": ("cortex-a72", "cortex-a76"), "trixie-arm64": ("cortex-a72", "cortex-a76"),
              "bookworm-armhf": ("cortex-a7",)}
BOX = "models/vedette-street.tflite"
REAL = PROJECT.parent / "shared" / "real"
PICTURES = ("images/cats_and_dogs.jpg",)
STREET = (700,)
ANSWERS = "tests.support.arm.answers"
PYTHON = "/opt/vedette/current/bin/python"
CONFIG = "/etc/vedette/arm.yaml"
RESULTS = 20
WITHIN_S = 3000.0
"""Emulation is slow, and slower on a loaded machine."""


class Wrong(Exception):
    """A step did not do what it must."""


class Reference:
    """The pictures and models, and what this machine answers with each runtime, computed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        self.models = [PROJECT / BOX, *sorted((REAL / "models").glob("*.tflite"))]
        self.pictures.mkdir(parents=True, exist_ok=True)
        for number in STREET:
            pixels = np.empty((360, 640, 3), np.uint8)
            Scene(HELD_OUT_SEED, 640, 360, 30.0).render(number, pixels)
            cv2.imwrite(str(self.pictures / f"street-{number}.png"), pixels)
        for picture in (REAL / name for name in PICTURES):
            pixels_read = cv2.imread(str(picture))
            if pixels_read is not None:
                cv2.imwrite(str(self.pictures / f"{picture.stem}.png"), pixels_read)

    def python(self, root: Root) -> Path:
        """This machine's Python with the runtime of that root."""
        environment = ".venv-tflite" if root.architecture == "armhf" else ".venv"
        if not (PROJECT / environment / ".ready").exists():
            subprocess.run(["make", "--no-print-directory", f"setup{environment.removeprefix('.venv')}"], cwd=PROJECT,
                           stdout=subprocess.DEVNULL, check=True)
        return PROJECT / environment / "bin/python"

    def answers(self, root: Root) -> dict[str, Any]:
        """What this machine makes of models and pictures with the runtime of that root."""
        plain = ("--plain",) if root.architecture == "armhf" else ()
        return answered(here(self.python(root), "-m", ANSWERS, *plain, "--models", *self.models, "--pictures",
                             *sorted(self.pictures.iterdir())))

    def pack(self, root: Root) -> list[Path]:
        """Pack bundles on this machine: the model in the box, and one that ARM rounds otherwise."""
        folder = self.folder / f"packed-for-{root.architecture}"
        folder.mkdir(exist_ok=True)
        packed = []
        for model in self.models:
            if model.stem in ("vedette-street", "yolo11n_224_coco_int8"):
                packed.append(folder / model.name)
                picture = self.pictures / ("street-700.png" if "street" in model.stem else "cats_and_dogs.png")
                here(self.python(root), "-m", "vedette", "model", "pack", model, "--version", "1", "--golden", picture,
                     "-o", packed[-1])
        return packed


def here(*words: object) -> str:
    """Run a command on this machine; returns what it printed. Raises: Wrong."""
    return printed(subprocess.run(list(map(str, words)), cwd=PROJECT, capture_output=True, text=True, timeout=WITHIN_S,
                                  check=False))


def printed(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode != 0:
        raise Wrong(f"{done.args[-1]}: exit code {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def answered(text: str) -> dict[str, Any]:
    return dict(json.loads(text.splitlines()[-1]))


class Board:
    """The steps on one root with one processor. Each returns what is worth to know. Raises: Wrong."""

    def __init__(self, root: Root, cpu: str, reference: Reference, broker: mosquitto.Mosquitto) -> None:
        self.root, self.reference, self.broker = root, reference, broker
        self.device = f"arm-{cpu}"
        config = root.folder / CONFIG.removeprefix("/")
        config.write_text(
            f"device: {self.device}\nmqtt: {{port: {broker.port}}}\npublish: {{results: all, max_per_s: 100}}\n"
            "camera: {source: synthetic, width: 384, height: 216, fps: 5}\nupdate: {require_signed: false}\n"
            "detector: {threads: 1}\n")
        root.clear("var/lib/arm")
        self.pictures = root.give(sorted(reference.pictures.iterdir()))
        self.armhf = root.architecture == "armhf"

    def vedette(self, *words: object) -> str:
        return printed(self.root.run("vedette", *words, timeout_s=WITHIN_S))

    def close(self, expected: list[list[Any]], found: list[list[Any]]) -> dict[str, Any]:
        """Return how far detections are from the expected ones. Raises: Wrong."""
        figures = differences(expected, found)
        if wrong := complaints(figures, exact=not self.armhf):
            raise Wrong("; ".join(wrong))
        return figures

    def answers(self) -> dict[str, Any]:
        """The scaling's bytes, bundles packed on this machine, and each model on each picture."""
        there = answered(printed(self.root.run(
            PYTHON, "-m", ANSWERS, "--verify", BOX, *self.root.give(self.reference.pack(self.root), "packed"),
            "--models", *self.root.give(self.reference.models, "models"), "--pictures", *self.pictures,
            timeout_s=WITHIN_S)))
        said = sound(there) | {"models": compare(self.reference.answers(self.root)["models"], there["models"],
                                                  armhf=self.armhf)}
        wrong = [f"{name}: {figures['wrong']}" for name, figures in said["models"].items() if figures["wrong"]]
        if wrong:
            raise Wrong(f"{'; '.join(wrong)}; {json.dumps(said)}")
        return said

    def doctor(self) -> dict[str, Any]:
        """No check fails, and the model in the box gives its golden frames, on XNNPACK."""
        done = self.root.run("vedette", "doctor", "--config", CONFIG, "--json", timeout_s=WITHIN_S)
        checks = {check["name"]: check for check in json.loads(done.stdout or '{"checks": []}')["checks"]}
        if done.returncode != 0 or checks["self-test"]["state"] != "ok":
            raise Wrong(f"{done.stderr[-500:]}{[check for check in checks.values() if check['state'] != 'ok']}")
        return {name: check["state"] for name, check in checks.items() if check["state"] != "ok"}

    def detect(self) -> dict[str, Any]:
        """The command's boxes and scores are those of the same command here."""
        there = lines(self.vedette("detect", "--model", BOX, "--json", *self.pictures))
        expected = lines(here(self.reference.python(self.root), "-m", "vedette", "detect", "--model", PROJECT / BOX,
                              "--json", *sorted(self.reference.pictures.iterdir())))
        return self.close(expected, there)

    def verify(self) -> dict[str, Any]:
        """`model verify` of the bundle in the box."""
        said = json.loads(self.vedette("model", "verify", "--json", BOX))
        return {"family": said["golden"]["family"], "f1": said["golden"]["f1"]}

    def pack(self) -> dict[str, Any]:
        """A bundle that was packed there verifies here."""
        self.vedette("model", "pack", BOX, "--golden", self.pictures[-1], "-o", "/var/packed.tflite")
        said = json.loads(here(self.reference.python(self.root), "-m", "vedette", "model", "verify", "--json",
                               self.root.folder / "var/packed.tflite"))
        return {"family": said["golden"]["family"], "f1": said["golden"]["f1"]}

    def install(self) -> dict[str, Any]:
        """`model install` while no daemon runs."""
        self.vedette("model", "install", BOX, "--config", CONFIG)
        return {}

    def run(self) -> dict[str, Any]:
        """The daemon publishes results of the installed model, and ends in order."""
        with listening(self.broker.client(), f"vedette/{self.device}/#") as subscriber, \
                self.running("vedette", "run", "--config", CONFIG) as process:
            wait_until(lambda: len(subscriber.results) >= RESULTS or process.poll() is not None, WITHIN_S)
            if len(subscriber.results) < RESULTS:
                raise Wrong(f"{len(subscriber.results)} results, exit code {process.poll()}: {self.log[-1500:]}")
            process.send_signal(signal.SIGTERM)
            code = process.wait(WITHIN_S)
            results = subscriber.results
        if code != 0 or {result["model"]["name"] for result in results} != {"vedette-street"}:
            raise Wrong(f"exit code {code}, {results[-1]}")
        return {"results": len(results), "detections": sum(len(result["detections"]) for result in results)}

    def serve(self) -> dict[str, Any]:
        """The server's answer is what `detect` says of the picture."""
        port, picture = free_port(), self.pictures[-1]
        with self.running("vedette", "serve", "--model", BOX, "--port", port) as process:
            wait_until(lambda: listens(port) or process.poll() is not None, WITHIN_S)
            if process.poll() is not None or not listens(port):
                raise Wrong(f"it does not listen: {self.log[-1500:]}")
            content = (self.root.folder / picture.removeprefix("/")).read_bytes()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
            connection.request("POST", "/v1/detect", content, {"Content-Type": "image/png"})
            said = json.load(connection.getresponse())
            connection.close()
        expected = lines(self.vedette("detect", "--model", BOX, "--json", picture))
        return self.close(expected, [said["detections"]])

    @property
    def log(self) -> str:
        return (self.root.folder / "var/running.log").read_text(errors="replace")

    @contextmanager
    def running(self, *words: object) -> Iterator[subprocess.Popen[str]]:
        """A process of the root, which is killed in the end if it still runs."""
        with (self.root.folder / "var/running.log").open("w") as log, \
                subprocess.Popen(**self.root.command(*words), stdout=subprocess.DEVNULL, stderr=log) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()


def lines(text: str) -> list[list[Any]]:
    """The detections of each picture that `detect --json` printed."""
    return [json.loads(line)["detections"] for line in text.splitlines()]


def sound(there: dict[str, Any]) -> dict[str, Any]:
    """Check the bytes of the scaling and the bundles. Raises: Wrong."""
    other = [name for name, digest in there["scaled"].items() if digest != SCALINGS[name][2]]
    failed = {name: bundle for name, bundle in there["verified"].items() if not bundle["passed"]}
    if other or failed or len(there["scaled"]) != len(SCALINGS):
        raise Wrong(f"scaled otherwise: {other}; not verified: {failed}")
    families = {name: [bundle["family"], bundle["distance"]] for name, bundle in there["verified"].items()}
    return {name: there[name] for name in ("machine", "python", "numpy", "opencv")} | {"verified": families}


def installed(root: Root, cpu: str, log: Path) -> None:
    """Install this checkout as a user does. Raises: Wrong, CalledProcessError."""
    root.make(log)
    root.enter(cpu)
    root.copy_project()
    if root.architecture == "armhf":
        printed(root.run("sh", "-c", f"dpkg -s {' '.join(APT_PACKAGES)} >/dev/null 2>&1 || {{ apt-get update -q && "
                                     f"apt-get install -q -y --no-install-recommends {' '.join(APT_PACKAGES)}; }}",
                         timeout_s=2 * WITHIN_S))
    printed(root.run("env", "DESTDIR=/", "systemd/install.sh", timeout_s=WITHIN_S))


def try_board(board: Board, root: Root, cpu: str, said: dict[str, Any], keep: Callable[[], object]) -> None:
    """Run every step that an earlier run has not, or found wrong; also after one that failed."""
    steps: tuple[Callable[[], dict[str, Any]], ...] = (
        board.doctor, board.detect, board.verify, board.pack, board.install, board.run, board.serve, board.answers)
    for step in (step for step in steps if step.__name__ not in said):
        said["wrong"].pop(step.__name__, None)
        try:
            said[step.__name__] = step()
        except (Wrong, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            said["wrong"][step.__name__] = f"{type(error).__name__}: {error}"
        keep()
        print(f"{root.name} {cpu} {step.__name__}: "
              f"{said['wrong'].get(step.__name__) or json.dumps(said[step.__name__])}", file=sys.stderr, flush=True)


def quick(roots: Path) -> dict[str, Any]:
    """Run this checkout's code where an earlier run installed; see the module's docstring."""
    root = next((root for root in (Root(roots, name) for name in PROCESSORS) if root.installed), None)
    if root is None:
        return {"campaign": "arm", "skipped": f"no root in {roots} where `make campaign PART=arm` has installed"}
    root.enter(PROCESSORS[root.name][0])
    root.bind_project()
    try:
        there = answered(printed(root.run("env", "PYTHONPATH=/vedette:/vedette/daemon", "PYTHONDONTWRITEBYTECODE=1",
                                          PYTHON, "-m", ANSWERS, "--verify", BOX, timeout_s=WITHIN_S)))
        return {"campaign": "arm", "root": root.name, **sound(there), "wrong": []}
    except Wrong as error:
        return {"campaign": "arm", "root": root.name, "wrong": [str(error)]}


def main() -> int:
    """Run the campaign; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=Path(".campaign/arm.json"))
    parser.add_argument("--roots", type=Path, default=PROJECT / ".campaign/arm", help="the folders of Debian, kept")
    parser.add_argument("--root", choices=PROCESSORS, action="append", help="only these")
    parser.add_argument("--quick", action="store_true", help="the scaling and the model in the box, in one root")
    args = parser.parse_args()
    if lacks := missing():
        print(json.dumps({"campaign": "arm", "skipped": f"needs {', '.join(lacks)}"}))
        return 0
    own_mounts()
    if args.quick:
        summary = quick(args.roots)
        print(json.dumps(summary))
        return 1 if summary.get("wrong") else 0
    args.roots.mkdir(parents=True, exist_ok=True)
    state: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    reference = Reference(args.state.absolute().with_suffix(""))
    def keep() -> None:
        args.state.write_text(json.dumps(state))
    with tempfile.TemporaryDirectory() as folder, mosquitto.running(Path(folder)) as broker:
        for root in (Root(args.roots, name) for name in args.root or PROCESSORS):
            boards = {cpu: state.setdefault(f"{root.name} {cpu}", {"wrong": {}}) for cpu in PROCESSORS[root.name]}
            left = [cpu for cpu, said in boards.items() if said["wrong"] or "answers" not in said]
            try:
                if left:
                    installed(root, left[0], reference.folder / f"{root.name}.log")
            except (Wrong, subprocess.SubprocessError) as error:
                boards[left[0]]["wrong"]["installed"] = str(error)
                continue
            for cpu in left:
                boards[cpu]["wrong"].pop("installed", None)
                root.enter(cpu)
                try_board(Board(root, cpu, reference, broker), root, cpu, boards[cpu], keep)
    wrong = {name: said["wrong"] for name, said in state.items() if said["wrong"]}
    print(json.dumps({"campaign": "arm", "boards": state, "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
