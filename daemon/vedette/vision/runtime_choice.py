"""Chooses the runtime for a model where `detector.runtime` is `auto` and both are installed: a child measures both.

Invariants:
- LiteRT runs the model, unless tflite-runtime is clearly faster for it here and its answers are right: those that its
  golden frames expect of this runtime; without such frames, the same bytes as LiteRT's.
- What fails in the child, even by a crash, leaves LiteRT in place.
- This process imports the chosen runtime only. Where one runtime is installed, nothing is measured.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from vedette.config.camera_values import Unit
from vedette.errors import ModelError, ModelUnproven, RuntimeMissing
from vedette.vision.interpreter import PACKAGES, chosen_runtime, version_of
from vedette.vision.model_child import ModelChild, invalid_response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHILD = "vedette.validate.runtime_child"
COMPARING = "comparing the runtimes"
CLEARLY_FASTER = 0.95
"""tflite-runtime must take at most this share of LiteRT's time."""
MOST_TURNS = 0.75
"""It must do so in this share of the turns: on a busy machine, noise must not decide."""


StartChild = Callable[[str, "Path | str"], ModelChild]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the child found: the median milliseconds of an invoke, and whether tflite-runtime's answers are right.

    `faster`: the share of turns in which tflite-runtime was clearly faster. `golden`: whether its answers agree with
    the golden frames of its family; None if there are none, or if it was never faster.
    """

    litert_ms: Milliseconds
    tflite_ms: Milliseconds
    faster: Unit
    identical: bool
    golden: bool | None

    @property
    def ratio(self) -> float:
        """The time of tflite-runtime as a share of LiteRT's."""
        return self.tflite_ms / self.litert_ms


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """The runtime that is to run a model. `among`: the installed versions it was chosen from; empty without a choice.

    `lasting`: another measurement would give the same.
    """

    runtime: str
    among: str = ""
    reason: str = ""
    lasting: bool = True


def wanted_runtime(runtime: str) -> tuple[str, str]:
    """Return what identifies the runtime in a proof: its name and version, or "auto" and the versions to choose from.

    Raises: RuntimeMissing.
    """
    among = _installed() if runtime == "auto" else ""
    return ("auto", among) if among else chosen_runtime(runtime)


def choose_runtime(request: Mapping[str, object], timeout_s: float,
                   start: StartChild = ModelChild) -> RuntimeChoice:
    """Return the runtime for the file of a `probe.proof_request`. `start` starts the child. Raises: RuntimeMissing."""
    among = _installed() if request["runtime"] == "auto" else ""
    if not among:
        return RuntimeChoice(chosen_runtime(str(request["runtime"]))[0])
    try:
        return decide(measure(request, timeout_s, start), among)
    except (ModelError, RuntimeMissing) as failure:
        return RuntimeChoice(chosen_runtime("auto")[0], among, f"the runtimes cannot be compared: {failure}",
                             not isinstance(failure, ModelUnproven))


def measure(request: Mapping[str, object], timeout_s: float, start: StartChild = ModelChild) -> Measured:
    """Run the file on both runtimes in a child. Raises: ModelError, RuntimeMissing."""
    with start(CHILD, str(request["path"])) as child:
        response = child.call({key: value for key, value in request.items() if key != "runtime"}, timeout_s, COMPARING)
    try:
        return TypeAdapter(Measured).validate_python(response)
    except ValidationError as error:
        raise invalid_response(request["path"], COMPARING) from error


def decide(measured: Measured, among: str) -> RuntimeChoice:
    """Return the choice after a measurement."""
    litert, tflite = PACKAGES
    time = f"{tflite} takes {measured.ratio:.2f} times as long as {litert}"
    if measured.ratio > CLEARLY_FASTER:
        return RuntimeChoice(litert, among, time)
    if measured.faster < MOST_TURNS:
        return RuntimeChoice(litert, among, f"{time}, but not often enough: in {measured.faster:.0%} of the turns")
    right, what = ((measured.identical, "the outputs of both are") if measured.golden is None else
                   (measured.golden, "its golden frames are"))
    if not right:
        return RuntimeChoice(litert, among, f"{time}, but {what} not the same")
    return RuntimeChoice(tflite, among, f"{time}, and {what} the same")


def _installed() -> str:
    """Return the versions of both runtimes and of numpy, which they are built for; empty if one is not installed."""
    if not all(map(importlib.util.find_spec, PACKAGES.values())):
        return ""
    import numpy as np
    return ", ".join([*(f"{name} {version_of(name)}" for name in PACKAGES), f"numpy {np.__version__}"])
