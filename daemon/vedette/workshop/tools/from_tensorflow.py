"""Runs in the environment `tensorflow`: IN OUT_FOLDER WIDTHxHEIGHT|- KIND -> OUT_FOLDER/float.tflite."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf


def main(source: Path, out: Path, size: str) -> None:
    """Convert one network. A message for a person begins with `vedette: `."""
    if source.is_dir():
        print("vedette: TensorFlow converts the SavedModel", flush=True)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    else:
        network = keras.models.load_model(source, compile=False)
        print("vedette: TensorFlow converts the Keras network", flush=True)
        shape = network.inputs[0].shape
        if len(shape) == 4 and None in shape:       # a free batch or size would be free in the .tflite file as well
            if None in shape[1:] and size == "-":
                sys.exit("vedette: the size of the input is not fixed; expected --size WIDTHxHEIGHT")
            width, height = map(int, size.split("x")) if size != "-" else (0, 0)
            sides = [known or wanted for known, wanted in zip(shape, (1, height, width, 3), strict=True)]
            image = keras.Input(sides[1:], batch_size=1, name="image")
            network = keras.Model(image, network(image))
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
    (out / "float.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
