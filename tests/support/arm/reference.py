"""What this machine answers, for the campaign on ARM: the pictures, the models, and x86's boxes with each runtime."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.arm.root import PROJECT, Root
from vedette.camera.street.scene import HELD_OUT_SEED, Scene

BOX = "models/vedette-street.tflite"
REAL = PROJECT.parent / "shared" / "real"
PICTURES = ("images/cats_and_dogs.jpg",)
STREET = (700,)
ANSWERS = "tests.support.arm.answers"
WITHIN_S = 3000.0
"""Emulation is slow, and slower on a loaded machine."""


class Wrong(Exception):
    """A step did not do what it must."""


class Reference:
    """The pictures and models, and what this machine answers with each runtime, computed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        self._answers: dict[str, dict[str, Any]] = {}
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
        """What this machine makes of models and pictures with the runtime of that root, computed once."""
        if root.architecture not in self._answers:
            plain = ("--plain",) if root.architecture == "armhf" else ()
            self._answers[root.architecture] = answered(here(
                self.python(root), "-m", ANSWERS, *plain, "--models", *self.models, "--pictures",
                *sorted(self.pictures.iterdir())))["models"]
        return self._answers[root.architecture]

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
