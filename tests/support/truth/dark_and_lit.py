"""A film that is dark, then has a lamp, and so on; and the truth of each of its frames."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.truth.bright_squares import CELLS
from tests.support.truth.truth import NOTHING, Film

FPS, DARK, LIT = 10, 40, 40
TRUTH = Film([NOTHING] * DARK + [frozenset({(1, number // 4 % CELLS)}) for number in range(DARK, DARK + LIT)])


def write_film(folder: Path) -> Path:
    """Dark for 4 s, then 4 s of a lamp that wanders; 128 x 128."""
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (128, 128))
    for number in range(DARK + LIT):
        picture = np.full((128, 128, 3), 8 + number % 5, np.uint8)
        if number >= DARK:
            column = 32 * (number // 4 % CELLS)
            picture[32:64, column:column + 32] = 255
        writer.write(picture)
    writer.release()
    return path


def is_lit(result: dict[str, Any]) -> bool:
    """The truth about a result's frame: each frame of the film has the next number."""
    return bool((result["frame"]["seq"] - 1) % (DARK + LIT) >= DARK)


def captured_s(result: dict[str, Any]) -> float:
    return datetime.fromisoformat(result["frame"]["captured_at"]).timestamp()
