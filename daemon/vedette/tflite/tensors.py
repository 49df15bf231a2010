"""Describes a tensor of a model: shape, type and quantization.

Invariants: frozen; quantization is per tensor (real = (q - zero_point) * scale); `scale` 0.0 means not quantised.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor. `dtype` is numpy's name ("int8", "uint8", "float32", …); `index` is its number in the graph."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @property
    def quantised(self) -> bool:
        """Whether the integers of this tensor represent real values."""
        return self.scale != 0.0

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "scalar"
        steps = f", scale {self.scale:.6g}, zero point {self.zero_point}" if self.quantised else ""
        return f"{self.name or '(unnamed)'} {self.dtype} {size}{steps}"
