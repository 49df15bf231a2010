"""Bundles of the pooling detector: packed by the command, and the same with one part changed.

The picture is wider than high and of medium brightness, so that a wrong colour order, scaling or normalization shows.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tests.support.models import tiny_detectors
from vedette.cli import main
from vedette.tflite.file import read_model
from vedette.vision import bundle


def picture(folder: Path, name: str = "garden.png", size: tuple[int, int] = (64, 40)) -> Path:
    """Write a picture: a leaf at the top left, sky at the bottom right; returns its path."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:height // 2, :width // 2, 1] = 190
    pixels[height // 2:, width // 2:, 0] = 225
    path = folder / name
    cv2.imwrite(str(path), pixels)
    return path


def pack(folder: Path, *arguments: object, model: Path | None = None, out: str = "bundle.tflite") -> Path:
    """Pack the pooling detector, or `model`, by the command; returns the bundle's path."""
    path = folder / out
    given = arguments or ("--golden", picture(folder), "--resize", "letterbox", "--score-threshold", "0.4")
    command = ["model", "pack", model or tiny_detectors.write(folder), "--name", "garden", "--version", "7", "-o", path]
    assert main([str(word) for word in (*command, *given)]) == 0
    return path


def altered(path: Path, *, files: dict[str, bytes] | None = None, **settings: object) -> Path:
    """Write the bundle again with other settings or files and a correct digest; returns the new path."""
    model = read_model(path)
    changed = {**json.loads(model.attachments["vedette.json"]), **settings}
    other = path.with_name("altered.tflite")
    other.write_bytes(bundle.assemble(bundle.flatbuffer_of(model), {
        **model.attachments, "vedette.json": json.dumps(changed).encode(), **(files or {})}))
    return other
