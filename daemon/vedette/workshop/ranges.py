"""Calibration: between which values each tensor of a float graph lies on the pictures.

Invariants: the range is that of the smallest and the largest value of all pictures, so their order does not matter.
The input's range is that of the bytes 0-255 as the model is fed, whatever the pictures show. The logits of several
strides have one range, since the decoder `ltrb` has one integer as the threshold of all.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.vision.interpreter import error_line
from vedette.vision.normalization import ZERO_TO_ONE
from vedette.workshop.graph import Graph, missing, write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.vision.normalization import Normalization

Ranges = Mapping[str, Mapping[str, "NDArray[np.float64]"]]
"""For each tensor by its name: "min" and "max", arrays of one number."""
_THREADS = 2
_REPORTED_EVERY = 10
_WIDTH_LEAST = 1e-4
_REFUSALS = (ValueError, RuntimeError, NotImplementedError, LookupError, TypeError, AttributeError)


class Inputs(Protocol):
    """Pictures as the model is fed with: float32 arrays (1, …). They can be counted."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...


def measure(graph: Graph, inputs: Inputs, normalization: Normalization | None,
            progress: Callable[[str], None]) -> Ranges:
    """Run every picture through the float graph, which must have a signature.

    Raises: ModelUnsupported, ExtraMissing.
    """
    try:
        from litert_quantizer import calibrator, recipe_manager
        from litert_quantizer.utils.qsv_utils import min_max_update
    except ImportError as error:
        raise missing(error) from error
    signature = next(each for each in graph.model.signatureDefs if each.subgraphIndex == 0)
    name = signature.inputs[0].name.decode()
    key, recipe = signature.signatureKey.decode(), recipe_manager.RecipeManager()
    with quiet("cannot run this graph"):
        calibration = calibrator.Calibrator(
            write(graph), num_threads=_THREADS, mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=min_max_update)
    for number, values in enumerate(inputs, 1):
        with quiet("cannot run this graph"):    # one by one: given all, it would hold all in memory to count them
            calibration.calibrate({key: [{name: values}]}, recipe)
        if number % _REPORTED_EVERY == 0 or number == len(inputs):
            progress(f"calibrating: picture {number} of {len(inputs)}")
    found = {name: _alive(each) for name, each in calibration.get_model_qsvs().items()}
    found[graph.name(int(graph.main.inputs[0]))] = input_range(normalization)
    logits = _logits(graph)
    ends = {end: pick([found[name][end] for name in logits], axis=0)
            for end, pick in (("min", np.min), ("max", np.max)) if logits}
    return found | dict.fromkeys(logits, ends)


def _logits(graph: Graph) -> list[str]:
    """Return the names of the logits of each stride, where the outputs are pairs of logits and distances."""
    outputs = [int(index) for index in graph.main.outputs]
    shapes = [graph.shape(index) for index in outputs]
    paired = len(shapes) % 2 == 0 and all(
        len(logits) == 4 and distances == (*logits[:3], 4) and logits[3] == shapes[0][3]
        for logits, distances in zip(shapes[::2], shapes[1::2], strict=True))
    return [graph.name(index) for index in outputs[::2]] if paired else []


def input_range(normalization: Normalization | None) -> Mapping[str, NDArray[np.float64]]:
    """Return the range of the input: with 255 steps, each byte of a picture has an integer of its own.

    None stands for 0-1. Where channels differ in their normalization, the range holds those of all channels.
    """
    used = normalization or ZERO_TO_ONE
    mean, std = np.array(used.mean, np.float64), np.array(used.std, np.float64)
    ends = np.stack([(0.0 - mean) / std, (255.0 - mean) / std])
    return {"min": ends.min(keepdims=True)[0], "max": ends.max(keepdims=True)[0]}


def _alive(each: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.float64]]:
    """Return a range that has a width: XNNPACK crashes on the scale of a tensor that is always 0."""
    low, high = np.asarray(each["min"], np.float64), np.asarray(each["max"], np.float64)
    return {"min": low, "max": low + 1.0} if (high - low).max() < _WIDTH_LEAST else {"min": low, "max": high}


@contextlib.contextmanager
def quiet(refusal: str) -> Iterator[None]:
    """Keep the quantizer's bars and warnings from the terminal: `progress` says what happens.

    Raises: ModelUnsupported, with `refusal`, in place of its errors.
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        except _REFUSALS as error:
            raise ModelUnsupported(f"the quantizer {refusal}: {error_line(error)}") from error
