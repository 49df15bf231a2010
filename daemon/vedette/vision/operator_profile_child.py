"""The child that runs a model with LiteRT's profiler: `python -m vedette.vision.operator_profile_child`.

Invariants: it starts like `probe_child`, and may fail in the same ways; the functions are called only with a version
that `operator_profile.TRIED` has.

Functions and structures: litert/c/*.h of LiteRT 2.2.0. `LiteRtResetProfiler` also switches the profiler off, so each
run starts it again, which empties it.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections import Counter, defaultdict
from ctypes import c_char_p, c_int, c_size_t, c_uint64, c_void_p
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.errors import ModelUnsupported, RuntimeMissing
from vedette.vision import probe_child
from vedette.vision.interpreter import PACKAGES

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile

_CPU = 1                        # kLiteRtHwAcceleratorCpu
_HOST_MEMORY = 1                # kLiteRtTensorBufferTypeHostMemory
_WRITE = 1                      # kLiteRtTensorBufferLockModeWrite
_OPERATIONS = {2, 4, 8}         # OPERATOR_INVOKE_EVENT, and those of operations inside a delegate
_OUTPUT_BYTES_MIN = 1 << 20     # an output of a dynamic size says that it needs nothing


class _Memory(ctypes.Structure):
    _fields_ = (("total", c_size_t), ("in_use", c_size_t), ("footprint", c_size_t))


class _Event(ctypes.Structure):
    _fields_ = (("tag", c_char_p), ("type", c_int), ("start_us", c_uint64), ("elapsed_us", c_uint64),
                ("begin", _Memory), ("end", _Memory), ("first", c_uint64), ("second", c_uint64), ("source", c_int))


class _TensorType(ctypes.Structure):
    _fields_ = (("element", c_int), ("layout", ctypes.c_byte * 68))


def main() -> None:
    """Handle the parent's one request."""
    link, request = probe_child.begin()
    probe_child.send_response(link, probe_child.result_or_refusal(request["path"], partial(_profile, **request)))


def _profile(path: str, sha256: str, threads: int, runs: int) -> dict[str, Any]:
    from vedette.tflite.file import read_model
    model = read_model(Path(path), sha256=sha256)
    try:
        return Profiler(model, threads).measure(runs)
    except (OSError, AttributeError) as error:
        raise RuntimeMissing(f"{path}: LiteRT's profiler cannot be used: {error}") from error


def _keep(_: int) -> None:
    """Free nothing: the text of an option is Python's."""


class Profiler:
    """A compiled model whose runs are recorded. It is never freed: the process ends with it."""

    def __init__(self, model: ModelFile, threads: int) -> None:
        self._path = model.path
        spec = importlib.util.find_spec(PACKAGES["litert"])
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        self._free = ctypes.CFUNCTYPE(None, c_void_p)(_keep)
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        native = self._made("LiteRtCreateModelFromFile", self._environment, str(model.path).encode())
        self._compiled = self._made("LiteRtCreateCompiledModel", self._environment, native, self._options(threads))
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        signature = self._made("LiteRtGetModelSignature", native, c_size_t(0))
        self._inputs, self._outputs = (self._buffers(signature, way) for way in ("Input", "Output"))
        self._fill(model)

    def measure(self, runs: int) -> dict[str, Any]:
        """Return the fields of `operator_profile.Runs`."""
        self._run()                             # the first one allocates
        counts: Counter[str] = Counter()
        times_us: dict[str, list[int]] = defaultdict(list)
        for _ in range(runs):
            operations = [(event.tag.decode("utf-8", "replace"), event.elapsed_us) for event in self._run()
                          if event.type in _OPERATIONS]
            counts = Counter(name for name, _ in operations)
            for name in counts:
                times_us[name].append(sum(elapsed_us for other, elapsed_us in operations if other == name))
        return {"counts": counts, "times_us": times_us}

    def _run(self) -> ctypes.Array[_Event]:
        self._call("LiteRtStartProfiler", self._profiler)
        self._call("LiteRtRunCompiledModel", self._compiled, c_size_t(0), c_size_t(len(self._inputs)), self._inputs,
                   c_size_t(len(self._outputs)), self._outputs)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return events

    def _options(self, threads: int) -> c_void_p:
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        for name, text in ((b"runtime_options_string", "enable_profiling = true"),
                           (b"xnnpack", f"num_threads = {threads}")):
            self._texts.append(ctypes.create_string_buffer(f"{text}\n".encode()))
            self._call("LiteRtAddOpaqueOptions", options,
                       self._made("LiteRtCreateOpaqueOptions", name, self._texts[-1], self._free))
        return options

    def _buffers(self, signature: c_void_p, way: str) -> ctypes.Array[c_void_p]:
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{way}s", signature, ctypes.byref(count))
        return (c_void_p * count.value)(*(self._buffer(signature, way, c_size_t(index))
                                          for index in range(count.value)))

    def _buffer(self, signature: c_void_p, way: str, index: c_size_t) -> c_void_p:
        kind, size = _TensorType(), c_size_t()
        tensor = self._made(f"LiteRtGetSignature{way}TensorByIndex", signature, index)
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind))
        needs = self._made(f"LiteRtGetCompiledModel{way}BufferRequirements", self._compiled, c_size_t(0), index)
        self._call("LiteRtGetTensorBufferRequirementsBufferSize", needs, ctypes.byref(size))
        least = _OUTPUT_BYTES_MIN if way == "Output" else 0
        return self._made("LiteRtCreateManagedTensorBuffer", self._environment, _HOST_MEMORY, ctypes.byref(kind),
                          c_size_t(max(size.value, least)))

    def _fill(self, model: ModelFile) -> None:
        """Write noise to the inputs."""
        import numpy as np
        random = np.random.default_rng(0)
        for buffer, spec in zip(self._inputs, model.inputs, strict=True):
            noise = np.zeros(spec.shape, spec.dtype)
            probe_child.fill(noise, random)
            place = c_void_p()
            self._call("LiteRtLockTensorBuffer", c_void_p(buffer), ctypes.byref(place), _WRITE)
            ctypes.memmove(place, noise.tobytes(), noise.nbytes)
            self._call("LiteRtUnlockTensorBuffer", c_void_p(buffer))

    def _made(self, function: str, *arguments: Any) -> c_void_p:
        """Return what a function writes to its last argument."""
        handle = c_void_p()
        self._call(function, *arguments, ctypes.byref(handle))
        if not handle:
            raise RuntimeMissing(f"{self._path}: {function} of LiteRT gave nothing")
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        called = getattr(self._library, function)
        called.restype = c_int
        if status := called(*arguments):
            raise ModelUnsupported(f"{self._path}: {function} of LiteRT failed with status {status}")


if __name__ == "__main__":
    main()
