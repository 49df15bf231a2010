"""What a detector needs of an interpreter, so that the workshop can give it one of another framework.

Invariants: views stay valid until `close`; `invoke` reads the input views and writes the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.tflite.tensors import TensorSpec


class AnyInterpreter(Protocol):
    """One network, ready to run. `moved`: its views must not be used any more."""

    runtime: str
    runtime_version: str
    xnnpack_share: float
    threads: int
    delegate_note: str | None
    choice: str
    moved: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an input tensor."""
        ...

    def output(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an output tensor."""
        ...

    def invoke(self) -> None:
        """Run the model once. Raises: InvokeFailed."""
        ...

    def close(self) -> None:
        """Free it. Safe to call twice."""
        ...
