"""Channels with a bias and hardly any weights, as untrained anchors of a detector have them.

Per channel, the scale of the bias follows from that of the weights. Where these are all zero, no integer is large
enough for the bias, and the channel gives 0 in place of it: for a score, that is a detection with 0.5 in every picture.

Invariants: a weight is raised only as far as the bias needs it, which changes the channel by less than a thousandth of
its bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vedette.workshop.graph import Graph
    from vedette.workshop.ranges import Ranges

_CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_LARGEST_BIAS = 2.0 ** 30       # in steps of its scale: an int32 less one bit, for the sum that it is added to
_STEPS, _LARGEST_WEIGHT = 255.0, 127.0


def hold_biases(graph: Graph, measured: Ranges) -> int:
    """Raise weights so that each bias can be written as an integer; returns the number of channels changed."""
    return sum(_hold(graph, op, measured) for op in graph.ops if graph.kind(op) in _CHANNEL_AXES)


def _hold(graph: Graph, op: Any, measured: Ranges) -> int:
    read = measured.get(graph.name(int(op.inputs[0])))
    if read is None or len(op.inputs) < 3 or not (graph.is_float(int(op.inputs[1])) and int(op.inputs[2]) >= 0):
        return 0
    data, bias = graph.constant(int(op.inputs[1])), graph.constant(int(op.inputs[2]))
    if data is None or bias is None:
        return 0
    weights = data.view(np.float32).reshape(graph.shape(int(op.inputs[1]))).copy()
    by_channel = np.moveaxis(weights, _CHANNEL_AXES[graph.kind(op)], 0)
    step = max(float(read["max"].max()), 0.0) - min(float(read["min"].min()), 0.0)
    least = np.abs(bias.view(np.float32)) * _LARGEST_WEIGHT * _STEPS / (max(step, 1e-6) * _LARGEST_BIAS)
    low = np.flatnonzero(np.abs(by_channel).reshape(len(by_channel), -1).max(axis=1) < least)
    for channel in low.tolist():
        by_channel[channel].flat[0] = least[channel]
    if low.size:
        graph.set_constant(int(op.inputs[1]), weights)
    return int(low.size)
