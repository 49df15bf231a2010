"""`python -m models.train.golden FOLDER`: draw the golden frames of the model in the box.

Invariants: no model was trained on these streets. The pictures are small, since the bundle contains them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from vedette.camera.street.scene import HELD_OUT_SEED, Scene

WIDTH, HEIGHT, FPS = 288, 162, 30.0
FRAMES = ((HELD_OUT_SEED, 700), (HELD_OUT_SEED + 3, 2600))
"""(seed of the street, number of the frame)."""


def main() -> None:
    """Write one PNG for each frame."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for index, (seed, number) in enumerate(FRAMES):
        pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        Scene(seed, WIDTH, HEIGHT, FPS).render(number, pixels)
        cv2.imwrite(str(folder / f"street-{index}.png"), pixels)


if __name__ == "__main__":
    main()
