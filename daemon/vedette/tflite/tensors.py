"""What a tensor of a model looks like: shape, type, and how its integers stand for real values.

Invariants: frozen; quantization is per tensor (real = (q - zero_point) * scale); `scale` 0.0 means not quantised.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor. `dtype` is numpy's word ("int8", "uint8", "float32", …); `index` counts the graph's tensors."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @property
    def quantised(self) -> bool:
        """Whether integers of this tensor stand for real values."""
        return self.scale != 0.0

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "scalar"
        steps = f", scale {self.scale:.6g}, zero point {self.zero_point}" if self.quantised else ""
        return f"{self.name or '(unnamed)'} {self.dtype} {size}{steps}"
