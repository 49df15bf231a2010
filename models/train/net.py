"""The network: ReLU6 separable convolutions, a small feature pyramid, one head for each of three strides.

Invariants:
- `wire` is the only description of the connections. Training, calibration and export all run it, each with its own
  operations, so the exported graph cannot differ from the trained one.
- Padding is TensorFlow's SAME (the odd pixel goes right and below), so that no PAD operation is needed.
- XNNPACK accepts every operation in INT8: CONV_2D, DEPTHWISE_CONV_2D, ADD, RESIZE_BILINEAR.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.train.scenes import SIDE

STRIDES = (8, 16, 32)
STAGES = ((32, 2), (64, 3), (128, 3), (160, 2))      # channels and residual blocks of each halving after the stem
STEM, NECK = 16, 64
PRIOR = -4.6                                         # logit of the share of cells with a thing, about 1 %

T = TypeVar("T")


class Operations(Protocol[T]):
    """The operations of a network: on tensors in training, on ranges in calibration, on TFLite tensors in export."""

    def unit(self, unit: Unit, x: T) -> T:
        """Convolution, batch normalization, and ReLU6 if the unit has it."""

    def add(self, a: T, b: T, name: str) -> T:
        """Sum, then ReLU6."""

    def double(self, x: T, name: str) -> T:
        """Twice as large, bilinear, half-pixel centres."""


class Unit(nn.Module):
    """A convolution with its normalization; `name` is set by `Street` and becomes the tensor's name."""

    name = ""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, depthwise: bool = False,
                 relu6: bool = True, last: bool = False) -> None:
        super().__init__()
        self.depthwise, self.relu6 = depthwise, relu6
        even = kernel // 2 if stride == 1 else 0      # SAME is uneven only where the size is halved; see forward
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, even, groups=inputs if depthwise else 1, bias=last)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(outputs, momentum=0.03, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """See Operations.unit."""
        if self.conv.stride[0] == 2:
            x = functional.pad(x, (0, 1, 0, 1))
        x = self.norm(self.conv(x))
        return functional.relu6(x, inplace=True) if self.relu6 else x


class Separable(nn.Module):
    """A depthwise 3 x 3 unit and a pointwise one; residual where the shapes allow it and `residual` is set."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.depthwise = Unit(inputs, inputs, 3, stride=stride, depthwise=True)
        self.pointwise = Unit(inputs, outputs, 1, relu6=not residual)

    def wire(self, x: T, ops: Operations[T]) -> T:
        """Return the block's output."""
        y = ops.unit(self.pointwise, ops.unit(self.depthwise, x))
        return ops.add(x, y, f"{self.pointwise.name}.sum") if self.residual else y


class Head(nn.Module):
    """For every cell: a logit for each class, and the distances left, top, right, bottom in strides."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.smooth, self.tower = Separable(NECK, NECK), Separable(NECK, NECK)
        self.of_class, self.of_box = Separable(NECK, NECK), Separable(NECK, NECK)
        self.logits = Unit(NECK, classes, 1, relu6=False, last=True)
        self.ltrb = Unit(NECK, 4, 1, relu6=False, last=True)
        nn.init.constant_(self.logits.conv.bias, PRIOR)
        nn.init.constant_(self.ltrb.conv.bias, 1.5)
        nn.init.normal_(self.logits.conv.weight, std=0.01)
        nn.init.normal_(self.ltrb.conv.weight, std=0.01)

    def wire(self, x: T, ops: Operations[T]) -> tuple[T, T]:
        """Return logits and distances."""
        x = self.tower.wire(self.smooth.wire(x, ops), ops)
        return (ops.unit(self.logits, self.of_class.wire(x, ops)), ops.unit(self.ltrb, self.of_box.wire(x, ops)))


class Street(nn.Module):
    """The whole network. Image in 0-1, RGB, (batch, 3, SIDE, SIDE)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Unit(3, STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = STEM
        for outputs, blocks in STAGES:
            self.stages.append(nn.ModuleList([Separable(inputs, outputs, stride=2), *(
                Separable(outputs, outputs, residual=True) for _ in range(blocks))]))
            inputs = outputs
        self.laterals = nn.ModuleList(Unit(outputs, NECK, 1, relu6=False) for outputs, _ in STAGES[1:])
        self.heads = nn.ModuleList(Head(classes) for _ in STRIDES)
        for name, module in self.named_modules():
            if isinstance(module, Unit):
                module.name = name

    def wire(self, image: T, ops: Operations[T]) -> list[tuple[T, T]]:
        """Return logits and distances for each stride, finest first."""
        x = ops.unit(self.stem, image)
        levels = []
        for stage in self.stages:
            for block in stage:
                x = block.wire(x, ops)
            levels.append(x)
        sides = [ops.unit(lateral, level) for lateral, level in zip(self.laterals, levels[1:], strict=True)]
        for finer in (1, 0):
            sides[finer] = ops.add(sides[finer], ops.double(sides[finer + 1], f"up.{finer}"), f"neck.{finer}")
        return [head.wire(side, ops) for head, side in zip(self.heads, sides, strict=True)]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, cells, classes) and distances (batch, cells, 4) of all strides."""
        levels = self.wire(image, TorchOperations())
        logits, ltrb = ([part.flatten(2).transpose(1, 2) for part in parts] for parts in zip(*levels, strict=True))
        return torch.cat(logits, 1), torch.cat(ltrb, 1)


class TorchOperations:
    """Operations on tensors of shape (batch, channels, rows, columns)."""

    def unit(self, unit: Unit, x: Tensor) -> Tensor:
        """See Operations."""
        return unit(x)

    def add(self, a: Tensor, b: Tensor, name: str) -> Tensor:  # noqa: ARG002 - the name is for export
        """See Operations."""
        return functional.relu6(a + b)

    def double(self, x: Tensor, name: str) -> Tensor:  # noqa: ARG002 - as above
        """See Operations."""
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def cells() -> tuple[Tensor, Tensor]:
    """Return the centres (cells, 2) in pixels and the stride of each cell, in the order of `forward`."""
    centres, strides = [], []
    for stride in STRIDES:
        axis = (torch.arange(SIDE // stride) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        centres.append(torch.stack((x, y), -1).reshape(-1, 2))
        strides.append(torch.full((axis.numel() ** 2,), float(stride)))
    return torch.cat(centres), torch.cat(strides)
