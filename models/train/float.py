"""`python -m models.train.float`: the float network of the model in the box, without training it again.

Invariants:
- The weights come from the `.tflite` file: integer x scale, per channel. So the same file gives the same weights on
  every machine, and `digest` proves it. They are what the file's training left after INT8 rounded them.
- The `.tflite`, `.pt2` and `.onnx` files have the same inputs and outputs as the INT8 file, in float.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")     # as in training

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.train.net import Street

Weights = dict[str, NDArray[np.float32]]
BOX = Path("models/vedette-street.tflite")
SHA256 = "9cbfd0c91082b4644c5c10faf7f2e00ea3bf377ea973ff364a2b629fbc31fed2"
"""`digest` of the model in the box."""


def weights_of(model: Path) -> Weights:
    """Return `NAME.weights` and `NAME.bias` of each unit, in TFLite's axes, as real numbers."""
    parsed = schema.ModelT.InitFromPackedBuf(model.read_bytes(), 0)
    found = {}
    for tensor in parsed.subgraphs[0].tensors:
        name = tensor.name.decode()
        if name.endswith((".weights", ".bias")):
            quantization = tensor.quantization
            dtype = np.int8 if name.endswith(".weights") else np.int32
            integers = parsed.buffers[tensor.buffer].data.view(dtype).reshape(tensor.shape)
            along = [1] * integers.ndim
            along[quantization.quantizedDimension] = -1
            found[name] = (integers * np.asarray(quantization.scale, np.float64).reshape(along)).astype(np.float32)
    return found


def digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the SHA-256 of the names, shapes and little-endian values, in the order of the names."""
    seen = hashlib.sha256()
    for name, values in sorted(weights.items()):
        seen.update(f"{name} {values.shape}\n".encode())
        seen.update(np.ascontiguousarray(values, "<f4").tobytes())
    return seen.hexdigest()


def network_of(weights: Mapping[str, NDArray[np.float32]]) -> Street:
    """Return the network with these weights, ready to detect; batch normalization is in the convolutions already."""
    import torch
    from torch import nn

    from models.train.net import Street, Unit

    network = Street(weights["heads.0.logits.bias"].size)
    for unit in network.modules():
        if isinstance(unit, Unit):
            deep = weights[f"{unit.name}.weights"]
            to_torch = (3, 0, 1, 2) if unit.depthwise else (0, 3, 1, 2)
            unit.conv.weight.data = torch.from_numpy(np.ascontiguousarray(deep.transpose(to_torch)))
            unit.conv.bias = nn.Parameter(torch.from_numpy(weights[f"{unit.name}.bias"].copy()))
            unit.norm = nn.Identity()
    return network.eval()


def main() -> None:
    """Write the float network in each form."""
    parser = argparse.ArgumentParser(prog="python -m models.train.float", description=__doc__)
    parser.add_argument("--model", type=Path, default=BOX)
    parser.add_argument("--folder", type=Path, default=Path(".train/float"))
    args = parser.parse_args()
    from models.train.forms import write
    weights = weights_of(args.model)
    args.folder.mkdir(parents=True, exist_ok=True)
    for path in write(network_of(weights), args.folder):
        print(f"{path}: {path.stat().st_size:,} bytes")
    print(f"weights: sha256 {digest(weights)}")


if __name__ == "__main__":
    main()
