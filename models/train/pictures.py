"""`python -m models.train.pictures`: example scenes and their difficulty, for the card."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.train.scenes import HARD_SIZE, HELD_OUT_SEED
from vedette.camera.street.scene import Scene

COLUMNS, ROWS = 4, 2
COUNTED = 1_500


def main() -> None:
    """Write models/scenes-hard.jpg and models/scenes-demo.jpg, and print sizes and visibility of the things."""
    hard, demo = Scene(HELD_OUT_SEED, *HARD_SIZE, 30.0, hard=True), Scene(HELD_OUT_SEED, 640, 360, 30.0)
    for name, scene, size, step in (("hard", hard, HARD_SIZE, 1), ("demo", demo, (640, 360), 675)):
        pictures = [_framed(scene, number * step, size) for number in range(COLUMNS * ROWS)]
        sheet = np.vstack([np.hstack(pictures[row * COLUMNS:(row + 1) * COLUMNS]) for row in range(ROWS)])
        cv2.imwrite(str(Path("models") / f"scenes-{name}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 80])
    picture = np.empty((HARD_SIZE[1], HARD_SIZE[0], 3), np.uint8)
    things = [thing for number in range(COUNTED) for thing in hard.render(number, picture)]
    sizes = np.sqrt([(box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (thing.box for thing in things)]) * 192
    visible = np.array([thing.visible for thing in things])
    print(f"{len(things)} things in {COUNTED} hard scenes; root of the area in the model's pixels: least "
          f"{sizes.min():.1f}, quartiles {np.percentile(sizes, (25, 50, 75)).round(1).tolist()}; "
          f"below 12 px {np.mean(sizes < 12):.0%}, below 32 px {np.mean(sizes < 32):.0%}; "
          f"hidden by a tenth or more {np.mean(visible < 0.9):.0%}, by a third or more {np.mean(visible < 0.67):.0%}")


def _framed(scene: Scene, number: int, size: tuple[int, int]) -> np.ndarray:
    picture = np.empty((size[1], size[0], 3), np.uint8)
    for thing in scene.render(number, picture):
        corners = [(round(x * size[0]), round(y * size[1])) for x, y in (thing.box[:2], thing.box[2:])]
        cv2.rectangle(picture, *corners, (0, 255, 255), 1)
    return cv2.resize(picture, (320, 320 * size[1] // size[0]), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
