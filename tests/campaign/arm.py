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

`--quick` runs this checkout's code where an earlier run installed: the scaling, and the golden frames of the model in
the box. It needs no network.
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
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.arm.compare import compare, complaints, differences
from tests.support.arm.reference import ANSWERS, BOX, WITHIN_S, Reference, Wrong, answered, here, printed
from tests.support.arm.root import APT_PACKAGES, PROJECT, Root, missing, own_mounts
from tests.support.broker import mosquitto
from tests.support.broker.subscriber import listening
from tests.support.models.scalings import SCALINGS
from tests.support.network.ports import free_port, listens
from tests.support.waiting.until import wait_until

PROCESSORS = {"bookworm-arm64": ("cortex-a72", "cortex-a76"), "trixie-arm64": ("cortex-a72", "cortex-a76"),
              "bookworm-armhf": ("cortex-a7",)}
PYTHON = "/opt/vedette/current/bin/python"
CONFIG = "/etc/vedette/arm.yaml"
RESULTS = 20


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
        self.log = root.folder / "var/running.log"

    def vedette(self, *words: object) -> str:
        return printed(self.root.run("vedette", *words, timeout_s=WITHIN_S))

    def close(self, expected: list[list[Any]], found: list[list[Any]]) -> dict[str, Any]:
        """Return how far detections are from the expected ones. Raises: Wrong."""
        figures = differences(expected, found)
        if wrong := complaints(figures, exact=not self.armhf):
            raise Wrong("; ".join(wrong))
        return figures

    def sound(self) -> dict[str, Any]:
        """The scaling's bytes, and bundles that were packed on this machine."""
        return sound(self.answers("--verify", BOX, *self.root.give(self.reference.pack(self.root), "packed")))

    def model(self, model: Path) -> dict[str, Any]:
        """The answers of one model: equal inputs, and boxes and scores as `compare` wants them."""
        there = self.answers("--models", *self.root.give([model], "models"), "--pictures", *self.pictures)["models"]
        x86 = self.reference.answers(self.root)[model.name]
        figures = compare({model.name: x86}, there, armhf=self.armhf)[model.name]
        if figures["wrong"]:
            raise Wrong(f"{figures}")
        return figures

    def answers(self, *words: str) -> dict[str, Any]:
        return answered(printed(self.root.run(PYTHON, "-m", ANSWERS, *words, timeout_s=WITHIN_S)))

    def steps(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """All steps, the quick ones first."""
        steps = (self.sound, self.doctor, self.detect, self.verify, self.pack, self.install, self.run, self.serve)
        return {step.__name__: step for step in steps} | {
            model.name: partial(self.model, model) for model in self.reference.models}

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
                raise Wrong(f"{len(subscriber.results)} results, exit code {process.poll()}: "
                            f"{self.log.read_text()[-900:]}")
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
                raise Wrong(f"it does not listen: {self.log.read_text()[-900:]}")
            content = (self.root.folder / picture.removeprefix("/")).read_bytes()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
            connection.request("POST", "/v1/detect", content, {"Content-Type": "image/png"})
            said = json.load(connection.getresponse())
            connection.close()
        expected = lines(self.vedette("detect", "--model", BOX, "--json", picture))
        return self.close(expected, [said["detections"]])

    @contextmanager
    def running(self, *words: object) -> Iterator[subprocess.Popen[str]]:
        """A process of the root, which is killed in the end if it still runs."""
        with self.log.open("w") as log, \
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
    families = {name: bundle["family"] for name, bundle in there["verified"].items()}
    return {name: there[name] for name in ("machine", "python", "numpy", "opencv")} | {"families": families}


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


def try_board(board: Board, said: dict[str, Any], keep: Callable[[], object]) -> None:
    """Run every step that an earlier run has not, or found wrong; also after one that failed."""
    said["wrong"] = {}
    for name, step in board.steps().items():
        if name in said:
            continue
        try:
            said[name] = step()
        except (Wrong, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            said["wrong"][name] = f"{type(error).__name__}: {error}"
        keep()
        print(f"{board.root.name} {board.device} {name}: {said['wrong'].get(name) or json.dumps(said[name])}",
              file=sys.stderr, flush=True)
    said["ended"] = True
    keep()


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
            boards = {cpu: state.setdefault(f"{root.name} {cpu}", {"wrong": {}, "ended": False})
                      for cpu in PROCESSORS[root.name]}
            left = [cpu for cpu, said in boards.items() if said["wrong"] or not said["ended"]]
            try:
                if left:
                    installed(root, left[0], reference.folder / f"{root.name}.log")
            except (Wrong, subprocess.SubprocessError) as error:
                boards[left[0]]["wrong"]["installed"] = str(error)
                continue
            for cpu in left:
                root.enter(cpu)
                try_board(Board(root, cpu, reference, broker), boards[cpu], keep)
    wrong = {name: said["wrong"] for name, said in state.items() if said["wrong"]}
    print(json.dumps({"campaign": "arm", "boards": state, "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
