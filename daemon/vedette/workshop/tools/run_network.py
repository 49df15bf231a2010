"""Runs a network of another framework for `workshop.foreign`, in the environment of that framework's tool.

    python -I run_network.py ENGINE PATH WIDTHxHEIGHT THREADS DESCRIPTOR

Invariants: nothing of vedette is imported. Tensors go through the memory behind DESCRIPTOR, at multiples of 64 bytes:
the inputs, then the outputs. A line comes in for each invoke, and one JSON object goes out for it, as for the start.
What a framework prints goes to standard error. The end of standard input ends the program, and so does a failure.
"""

from __future__ import annotations

import ast
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ALIGNED = 64
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}

Shape = tuple[int, ...]
Run = Callable[[list[Any]], list[Any]]


class Network:
    """A loaded network: `run` takes arrays of the shapes and types of `inputs`, and gives arrays."""

    def __init__(self, run: Run, inputs: Sequence[tuple[str, Shape, str]], runtime: str, version: str,
                 metadata: dict[str, Any], names: Sequence[str] = ()) -> None:
        self.run, self.inputs, self.runtime, self.version, self.metadata = run, inputs, runtime, version, metadata
        outputs = run([np.zeros(shape, dtype) for _, shape, dtype in inputs])
        known = list(names)[:len(outputs)]
        self.outputs = [(name, tuple(output.shape), output.dtype.name) for name, output in zip(
            known + [f"output{place}" for place in range(len(known), len(outputs))], outputs, strict=True)]


def onnx(path: str, size: Shape, threads: int) -> Network:
    """Load a file of ONNX Runtime. Free axes get batch 1 and the size (height, width)."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()
    inputs = [(each.name, _fixed(each.shape, size), _type_of(each.type)) for each in given]
    metadata = {key: _value(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}

    def run(arrays: list[Any]) -> list[Any]:
        return list(session.run(None, {each.name: array for each, array in zip(given, arrays, strict=True)}))
    return Network(run, inputs, "onnxruntime", onnxruntime.__version__, metadata,
                   [output.name for output in session.get_outputs()])


def exported(path: str, size: Shape, threads: int) -> Network:
    """Load an exported program of torch (.pt2)."""
    import torch
    program = torch.export.load(path)
    wanted = set(program.graph_signature.user_inputs)
    shapes = [_fixed([_whole(axis) for axis in node.meta["val"].shape], size) for node in program.graph.nodes
              if node.op == "placeholder" and node.name in wanted]
    return _of_torch(program.module(), shapes, threads, {})


def script(path: str, size: Shape, threads: int) -> Network:
    """Load a TorchScript file, which does not state the size of its input."""
    import torch
    return _of_torch(torch.jit.load(path, map_location="cpu").eval(), [_fixed((1, 3, None, None), size)], threads, {})


def module(path: str, size: Shape, threads: int) -> Network:
    """Load a whole network as torch pickles it; the source of its classes may be beside it."""
    import torch
    sys.path.insert(0, str(Path(path).parent))
    loaded = torch.load(path, map_location="cpu", weights_only=False)
    return _of_torch(loaded.float().eval(), [_fixed((1, 3, None, None), size)], threads, {})


def ultralytics(path: str, size: Shape, threads: int) -> Network:
    """Load a checkpoint of Ultralytics, with the size of its training where no other is wanted."""
    from ultralytics import YOLO
    model = YOLO(path)
    trained = getattr(model.model, "args", {})
    side = (trained.get("imgsz") if isinstance(trained, dict) else getattr(trained, "imgsz", None)) or 640
    square = tuple(side)[:2] if isinstance(side, (list, tuple)) else (side, side)
    shape = (1, 3, *(size if all(size) else square))
    return _of_torch(model.model.float().eval(), [shape], threads, {"task": model.task, "names": dict(model.names)})


ENGINES: dict[str, Callable[[str, Shape, int], Network]] = {
    "onnx": onnx, "exported-program": exported, "script": script, "module": module, "ultralytics": ultralytics}


def _of_torch(module: Any, shapes: Sequence[Shape], threads: int, metadata: dict[str, Any]) -> Network:
    import torch
    torch.set_num_threads(threads)

    def run(arrays: list[Any]) -> list[Any]:
        with torch.inference_mode():
            result = module(*(torch.from_numpy(array) for array in arrays))
        return [tensor.detach().contiguous().numpy() for tensor in _tensors(result)]
    return Network(run, [(f"input{place}", shape, "float32") for place, shape in enumerate(shapes)], "torch",
                   torch.__version__, metadata)


def _tensors(result: Any) -> list[Any]:
    """Return the tensors of a result. Those at the top are the outputs; others are for the training."""
    if hasattr(result, "detach"):
        return [result]
    parts = list(result.values() if isinstance(result, dict) else result)
    return [part for part in parts if hasattr(part, "detach")] or [
        tensor for part in parts if isinstance(part, (dict, list, tuple)) for tensor in _tensors(part)]


def _fixed(shape: Sequence[Any], size: Shape) -> Shape:
    """Return the shape with numbers for its free axes."""
    axes = [axis if isinstance(axis, int) and axis > 0 else 0 for axis in shape]
    if len(axes) == 4:
        sides = (1, 2) if axes[3] in (1, 3) and axes[1] not in (1, 3) else (2, 3)
        axes = [axis or (size[sides.index(place)] if place in sides else axis) for place, axis in enumerate(axes)]
    if axes:
        axes[0] = axes[0] or 1
    if not all(axes):
        raise ValueError(f"an input of {list(shape)}: its size is not stated; compare it with a model that states one")
    return tuple(axes)


def _whole(axis: Any) -> int | None:
    return axis if isinstance(axis, int) else None      # torch's SymInt is no int


def _type_of(name: str) -> str:
    if name not in _TYPES:
        raise ValueError(f"an input of type {name}; expected one of {', '.join(_TYPES)}")
    return _TYPES[name]


def _value(text: str) -> Any:
    """Return what an exporter wrote with repr; a text that is no such value stays a text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    return value if isinstance(value, (dict, list, int, float, str)) else text


def serve(load: Callable[[], Network], descriptor: int) -> int:
    """Load, then invoke once for each line of standard input. Returns the exit code."""
    link = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        network = load()
    except Exception as error:
        _send(link, {"error": _line(error), "missing": isinstance(error, ImportError)})
        raise
    tensors = [*network.inputs, *network.outputs]
    places = list(offsets(tensors))
    os.ftruncate(descriptor, places[-1])
    memory = mmap.mmap(descriptor, places[-1])
    views = [np.frombuffer(memory, dtype, int(np.prod(shape)), place).reshape(shape)
             for (_, shape, dtype), place in zip(tensors, places, strict=False)]
    _send(link, {"inputs": network.inputs, "outputs": network.outputs, "runtime": network.runtime,
                 "version": network.version, "metadata": network.metadata})
    for _ in sys.stdin:
        try:
            answer = _invoke(network, views)
        except Exception as error:
            _send(link, {"error": _line(error)})
            raise
        _send(link, answer)
    return 0


def _invoke(network: Network, views: list[Any]) -> dict[str, Any]:
    count, began = len(network.inputs), time.perf_counter()
    outputs = network.run([view.copy() for view in views[:count]])
    for view, output in zip(views[count:], outputs, strict=True):
        if view.shape != output.shape:
            return {"error": f"an output changed its size from {view.shape} to {output.shape}"}
        view[...] = output
    return {"ms": (time.perf_counter() - began) * 1000}


def offsets(tensors: Sequence[tuple[str, Shape, str]]) -> Iterator[int]:
    """Yield where each tensor begins in the memory, and at last its size."""
    place = 0
    for _, shape, dtype in tensors:
        yield place
        place += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNED) * ALIGNED
    yield max(place, ALIGNED)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


def _send(link: Any, values: dict[str, Any]) -> None:
    link.write(json.dumps(values, default=str) + "\n")
    link.flush()


def main(arguments: Sequence[str]) -> int:
    """Serve the network that the command line names."""
    engine, path, size, threads, descriptor = arguments
    width, height = map(int, size.split("x"))
    return serve(partial(ENGINES[engine], path, (height, width), int(threads)), int(descriptor))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
