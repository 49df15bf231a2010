"""The training loop: AdamW, warm-up and cosine, flips and light, an average of the weights. It can be resumed.

Invariants: the seed decides everything but the order of float sums. A checkpoint is complete or does not exist.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.train.loss import detection_loss
from models.train.net import Street, cells
from models.train.scenes import SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from models.train.scenes import Scenes

BATCH = 32
PEAK_RATE = 3e-3
LAST_SHARE = 0.01
WARM_UP = 250
WEIGHT_DECAY = 0.03
AVERAGE = 0.998
CHECKPOINT_EVERY = 200
REPORT_EVERY = 50


class Fit:
    """One training run: the network, the average of its weights, and the present step."""

    def __init__(self, classes: int, steps: int, checkpoint: Path) -> None:
        torch.manual_seed(0)
        self.steps, self.step = steps, 0
        self.network = Street(classes).to(memory_format=torch.channels_last)
        self.average = Street(classes).to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        self._checkpoint = checkpoint
        plain = [weight for weight in self.network.parameters() if weight.ndim < 2]
        decayed = [weight for weight in self.network.parameters() if weight.ndim >= 2]
        self._optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY},
                                             {"params": plain, "weight_decay": 0.0}], lr=PEAK_RATE)
        if checkpoint.exists():
            self._resume()

    def run(self, scenes: Scenes) -> Street:
        """Train to the end. Return the averaged network."""
        centres, strides = cells()
        self.network.train()
        sums, began = np.zeros(2), time.monotonic()
        while self.step < self.steps:
            image, boxes, labels = _batch(scenes, self.step)
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate()
            losses = detection_loss(*self.network(image), centres, strides, boxes, labels)
            self._optimizer.zero_grad()
            sum(losses).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
            self._optimizer.step()
            self.step += 1
            self._blend()
            sums += [loss.item() for loss in losses]
            if self.step % REPORT_EVERY == 0:
                pace = (time.monotonic() - began) / REPORT_EVERY
                print(f"step {self.step}/{self.steps}: class {sums[0] / REPORT_EVERY:.3f}, "
                      f"box {sums[1] / REPORT_EVERY:.3f}, {pace:.2f} s a step", flush=True)
                sums, began = np.zeros(2), time.monotonic()
            if self.step % CHECKPOINT_EVERY == 0 or self.step == self.steps:
                self._save()
        return self.average.eval()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / WARM_UP)
        cosine = (1 + math.cos(math.pi * self.step / self.steps)) / 2
        return PEAK_RATE * warm * (LAST_SHARE + (1 - LAST_SHARE) * cosine)

    def _blend(self) -> None:
        share = 1 - min(AVERAGE, (1 + self.step) / (10 + self.step))
        fresh = self.network.state_dict()
        for name, kept in self.average.state_dict().items():
            if kept.dtype.is_floating_point:
                kept.lerp_(fresh[name], share)

    def _save(self) -> None:
        partial = self._checkpoint.with_suffix(".part")
        torch.save({"step": self.step, "network": self.network.state_dict(), "average": self.average.state_dict(),
                    "optimizer": self._optimizer.state_dict()}, partial)
        os.replace(partial, self._checkpoint)  # noqa: PTH105 - Path.replace is the same; this names the intent

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        print(f"resumed at step {self.step}", flush=True)


def to_image(pixels: np.ndarray) -> Tensor:
    """Return BGR bytes (n, rows, columns, 3) as RGB in 0-1, (n, 3, rows, columns), channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(0, 3, 1, 2).float() / 255


def _batch(scenes: Scenes, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the batch of this step: images, boxes in pixels, labels; half are mirrored, and each has its own light."""
    epoch, place = divmod(step * BATCH, len(scenes) - len(scenes) % BATCH)
    chosen = np.random.default_rng((1, epoch)).permutation(len(scenes))[place:place + BATCH]
    rng = np.random.default_rng((2, step))
    image, boxes = to_image(scenes.pixels[chosen]), torch.from_numpy(scenes.boxes[chosen])
    labels = torch.from_numpy(scenes.labels[chosen])
    mirrored = torch.from_numpy(rng.random(BATCH) < 0.5)
    image = torch.where(mirrored[:, None, None, None], image.flip(3), image)
    boxes = torch.where(mirrored[:, None, None], torch.stack(
        (SIDE - boxes[..., 2], boxes[..., 1], SIDE - boxes[..., 0], boxes[..., 3]), -1), boxes)
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (BATCH, 1, 1, 1)) * rng.uniform(0.93, 1.07, (BATCH, 3, 1, 1)))
    image = (image * gain.float()).clamp(0, 1).contiguous(memory_format=torch.channels_last)
    things = int((labels >= 0).sum(1).max().clamp(min=1))
    return image, boxes[:, :things], labels[:, :things]
