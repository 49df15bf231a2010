"""Writes small Keras networks with what does not fit, as NAME.keras and as a SavedModel. It needs TensorFlow only."""

# mypy: disable-error-code="misc,import-not-found,import-untyped"

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops


class Best(layers.Layer):
    """A layer of somebody's own."""

    def call(self, x: Any) -> Any:
        return tf.math.top_k(x, 5)[0]


class Suppressed(layers.Layer):
    """TensorFlow's own suppression of overlaps."""

    def call(self, x: Any) -> Any:
        return tf.image.combined_non_max_suppression(x[:, :, None, :4], x[:, :, 4:], 3, 3)[0]


def network(then: Callable[[Any], Any]) -> Any:
    image = keras.Input((32, 32, 3), batch_size=1, name="image")
    cells = layers.Reshape((64, 7), name="flat")(layers.Conv2D(7, 4, strides=4, name="conv")(image))
    return keras.Model(image, then(cells))


def two() -> Any:
    image, scale = keras.Input((32, 32, 3), batch_size=1, name="image"), keras.Input((1,), batch_size=1, name="scale")
    return keras.Model([image, scale], layers.Flatten()(layers.Conv2D(7, 4, strides=4)(image)) * scale)


def video() -> Any:
    clip = keras.Input((4, 32, 32, 3), batch_size=1, name="clip")
    return keras.Model(clip, layers.Conv3D(4, (2, 3, 3), name="conv3d")(clip))


def any_size() -> Any:
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, layers.Conv2D(7, 4, strides=4, name="conv")(image))


NETWORKS: dict[str, Callable[[], Any]] = {
    "plain": lambda: network(lambda x: x),
    "gelu": lambda: network(layers.Activation("gelu")),
    "attention": lambda: network(lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "lstm": lambda: network(layers.LSTM(5, name="rnn")),
    "both_ways": lambda: network(layers.Bidirectional(layers.GRU(5), name="rnn")),
    "unrolled": lambda: network(layers.LSTM(5, unroll=True, name="rnn")),
    "topk": lambda: network(lambda x: ops.top_k(ops.max(x, -1), 10)[0]),
    "python": lambda: network(layers.Lambda(lambda t: t * 2, name="python")),
    "own": lambda: network(Best(name="own")),
    "nms": lambda: network(Suppressed(name="nms")),
    "two": two, "video": video, "any_size": any_size,
}


def main(folder: Path) -> None:
    """Write each network."""
    for name, make in NETWORKS.items():
        made = make()
        made.save(folder / f"{name}.keras")
        made.export(folder / name, verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
