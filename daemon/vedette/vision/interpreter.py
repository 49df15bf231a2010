"""Runs a model with the installed TFLite runtime: LiteRT, or its predecessor tflite-runtime.

Invariants:
- Only this file imports a runtime, and only when one is needed. No type or exception of a runtime leaves it.
- Tensors are allocated once. An output of a dynamic size exists only after a first invoke, which is made on zeros; a
  later invoke that moves it fails. Until then or `close`, a view stays valid: `invoke` reads the input views and writes
  the outputs.
- The bytes that run are the bytes whose digest was checked. They are read once, so a file that is replaced or cut off
  later changes nothing.
- One thread at a time uses it. `invoke` releases the GIL, the constructor holds it.

Both runtimes write "Created TensorFlow Lite XNNPACK delegate" to standard error, even if the delegate takes no node.
`xnnpack_share` says how much it really took.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vedette.errors import InvokeFailed, ModelDamaged, ModelUnsupported, RuntimeMissing
from vedette.tflite.file import read_bytes
from vedette.tflite.tensors import TensorSpec
from vedette.vision import xnnpack
from vedette.vision.delegated import Node, delegated_share

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PACKAGES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}    # in the order that "auto" tries
# What the runtimes raise: their own errors, and SystemError from tflite-runtime with numpy 2.
_REFUSALS = (RuntimeError, ValueError, SystemError)
# A model with one tensor that is input and output. A runtime works only if it can build this.
_TINY_MODEL = base64.b64decode(
    "HAAAAFRGTDMAABIAHAAEABgAFAAQAAwAAAAIABIAAAADAAAAFAAAABQAAAAcAAAALAAAADAAAAAAAAAAAgAAALQAAACoAAAADgAAAG1hZGUg"
    "YnkgYSB0ZXN0AAABAAAAGAAAAAAAAAAAAA4AGAAUABAADAAIAAQADgAAABQAAAAcAAAAHAAAACAAAAAkAAAABAAAAG1haW4AAAAAAAAAAAEA"
    "AAAAAAAAAQAAAAAAAAABAAAAEAAAAAwAFAAQAAsABAAMAAwAAAABAAAAAAAACQgAAAAMAAAAAQAAAHgAAAACAAAAAQAAAAQAAAD8////BAAE"
    "AAQAAAA=")


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """A runtime, and whether it works here: `error` says why not; None means that it works."""

    name: str
    version: str | None
    error: str | None


class Interpreter:
    """One model, built and allocated. `delegate` lets tflite-runtime use Vedette's own delegate (see xnnpack.py).

    If that delegate cannot be used, the interpreter runs without it, and `delegate_note` says why.
    Raises: ModelUnreadable, ModelDamaged (not the digest `sha256`), ModelUnsupported (with the runtime's message),
    RuntimeMissing.
    """

    def __init__(self, path: Path, runtime: str = "auto", threads: int = 1, *,
                 delegate: bool = False, sha256: str | None = None) -> None:
        content = read_bytes(path)
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise ModelDamaged(f"{path}: no longer the file that was checked; expected SHA-256 {sha256}")
        self.path = path
        self.threads = threads
        self.runtime, self.runtime_version, module = _import(runtime)
        self.delegate_note: str | None = None
        self.choice = ""
        """Why this runtime was chosen, for who opened it to set."""
        self.moved = False
        """Whether an invoke has moved the tensors: views must not be used any more."""
        self._delegate: xnnpack.Delegate | None = None
        try:
            self._native = self._build(module, content, delegate)
            self.inputs = tuple(map(_spec, self._native.get_input_details()))
            self._inputs: list[NDArray[Any]] = [_view(self._native, spec) for spec in self.inputs]
            self._dynamic = not all(_has_data(self._native, spec) for spec in self._output_specs())
            if self._dynamic:
                self._inputs = self._invoke_on_zeros()
            self.outputs = self._output_specs()
            self._outputs: list[NDArray[Any]] = [_view(self._native, spec) for spec in self.outputs]
            self.xnnpack_share = delegated_share([*map(_node, self._native._get_ops_details())])
        except _REFUSALS as error:
            _check_works(self.runtime, module)
            raise ModelUnsupported(
                f"{path}: {self.runtime} {self.runtime_version} cannot build it: {error_line(error)}") from error
        # The wrapper's own invoke() refuses while a view exists, because tensors may move. `outputs_moved` checks that.
        self._invoke = self._native._interpreter.Invoke

    def __repr__(self) -> str:
        state = f"{self.xnnpack_share:.0%} on XNNPACK" if self._native else "closed"
        return f"<Interpreter {self.path.name} {self.runtime} {self.runtime_version} threads={self.threads} {state}>"

    @property
    def delegate(self) -> bool:
        """Whether Vedette's own delegate is in use."""
        return self._delegate is not None

    def input(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an input tensor: write to it, then call `invoke`."""
        return self._inputs[index]

    def output(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an output tensor: it shows what the last `invoke` wrote."""
        return self._outputs[index]

    def invoke(self) -> None:
        """Run the model once. Raises: InvokeFailed with the runtime's message."""
        try:
            self._invoke()
        except _REFUSALS as error:
            raise InvokeFailed(f"{self.path}: {self.runtime} failed to invoke: {error_line(error)}") from error
        if self._dynamic and self.outputs_moved():
            self.moved = True
            raise InvokeFailed(f"{self.path}: changed the size of its outputs; expected outputs of a fixed shape")

    def outputs_moved(self) -> bool:
        """Whether a tensor is no longer where its view points: the model changes the size of its outputs as it runs.
        """
        specs, views = self.inputs + self.outputs, self._inputs + self._outputs
        return any(now.shape != view.shape or now.ctypes.data != view.ctypes.data
                   for now, view in zip((_view(self._native, spec) for spec in specs), views, strict=True))

    def close(self) -> None:
        """Free the interpreter. Safe to call twice; views must not be used afterwards."""
        if self._native is None:
            return
        wrapper = self._native._interpreter
        self._inputs, self._outputs, self._native, self._invoke = [], [], None, self._closed
        # A view that somebody still holds keeps the wrapper alive. Then its delegate must stay alive too.
        unreferenced = sys.getrefcount(wrapper) == 2
        del wrapper
        if self._delegate and unreferenced:
            self._delegate.close()

    def _output_specs(self) -> tuple[TensorSpec, ...]:
        return tuple(map(_spec, self._native.get_output_details()))

    def _invoke_on_zeros(self) -> list[NDArray[Any]]:
        """Invoke once, because an output of a dynamic size has no data before; returns the inputs where they are then.
        """
        for view in self._inputs:
            view[...] = 0
        self._native._interpreter.Invoke()
        return [_view(self._native, spec) for spec in self.inputs]

    def _closed(self) -> None:
        raise InvokeFailed(f"{self.path}: the interpreter is closed")

    def _build(self, module: Any, content: bytes, delegate: bool) -> Any:
        if delegate and self.runtime == xnnpack.RUNTIME:
            try:
                self._delegate = xnnpack.Delegate(self.runtime, self.runtime_version, self.threads)
                return _allocate(module, content, self.threads, [self._delegate])
            except (xnnpack.DelegateRefused, *_REFUSALS) as error:
                self._delegate = None   # not closed: the half-built interpreter may still point at it
                self.delegate_note = f"Vedette's XNNPACK delegate cannot be used: {error_line(error)}"
        return _allocate(module, content, self.threads, None)


def chosen_runtime(runtime: str) -> tuple[str, str]:
    """Return name and version of the runtime that this setting selects here. Raises: RuntimeMissing."""
    name, version, _ = _import(runtime)
    return name, version


def version_of(runtime: str) -> str:
    """Return the version of an installed runtime without loading its native code."""
    return str(importlib.import_module(PACKAGES[runtime]).__version__)


def available_runtimes() -> tuple[RuntimeReport, ...]:
    """Return every known runtime. Each one builds a model here, since a runtime that can be imported may not work."""
    return tuple(map(_report, PACKAGES))


def error_line(error: BaseException) -> str:
    """Return the message of a foreign error, and of its cause, on one line of at most 300 characters."""
    text = " ".join(f"{str(error)[:1000]} {str(error.__cause__ or '')[:1000]}".split())
    return text[:300] or type(error).__name__


def _report(name: str) -> RuntimeReport:
    try:
        version, module = _import_one(name)
    except (ImportError, AttributeError) as error:
        return RuntimeReport(name, None, error_line(error))
    try:
        _allocate(module, _TINY_MODEL, 1, None)
    except _REFUSALS as error:
        return RuntimeReport(name, version, error_line(error))
    return RuntimeReport(name, version, None)


def _import(runtime: str) -> tuple[str, str, Any]:
    errors = []
    for name in PACKAGES if runtime == "auto" else (runtime,):
        try:
            return name, *_import_one(name)
        except (ImportError, AttributeError) as error:     # AttributeError: it is built for another numpy
            errors.append(f"{name}: {error_line(error)}")
    raise RuntimeMissing(f"no TFLite runtime for detector.runtime: {runtime} ({'; '.join(errors)}); "
                         "expected ai-edge-litert or tflite-runtime to be installed")


def _import_one(name: str) -> tuple[str, Any]:
    module = importlib.import_module(f"{PACKAGES[name]}.interpreter")
    return version_of(name), module


def _check_works(name: str, module: Any) -> None:
    try:
        _allocate(module, _TINY_MODEL, 1, None)
    except _REFUSALS as error:
        raise RuntimeMissing(f"{name} can be imported but cannot build any model: {error_line(error)}") from error


def _allocate(module: Any, content: bytes, threads: int, delegates: list[xnnpack.Delegate] | None) -> Any:
    native = module.Interpreter(model_content=content, num_threads=threads, experimental_delegates=delegates)
    native.allocate_tensors()
    return native


def _has_data(native: Any, spec: TensorSpec) -> bool:
    try:
        native.tensor(spec.index)()
    except ValueError:      # "Tensor data is null"
        return False
    return True


def _view(native: Any, spec: TensorSpec) -> NDArray[Any]:
    if not spec.shape:
        raise ValueError(f"tensor {spec} has no dimensions; expected at least one")     # it would be no view but a copy
    view: NDArray[Any] = native.tensor(spec.index)()
    return view


def _node(details: dict[str, Any]) -> Node:
    return Node(details["op_name"], details["inputs"].tolist(), details["outputs"].tolist())


def _spec(details: dict[str, Any]) -> TensorSpec:
    import numpy as np
    scale, zero_point = details["quantization"]
    return TensorSpec(name=details["name"], index=int(details["index"]), shape=tuple(map(int, details["shape"])),
                      dtype=np.dtype(details["dtype"]).name, scale=float(scale), zero_point=int(zero_point))
