"""`python -m examples.personalize.learn`: teaches a classifier an owner's labels, on the device.

Invariants:
- It needs numpy, one of the two runtimes and Vedette, as every device has them.
- Pictures are prepared by Vedette's own code, so that the model later sees frames as it saw them.
- The learnt weights replace the first ones in the file, byte for byte. So the file becomes a bundle like any other,
  and it can still learn.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.types import WHOLE
from vedette.vision import images
from vedette.vision.bundle import flatbuffer_of
from vedette.vision.interpreter import PACKAGES, chosen_runtime
from vedette.vision.model_spec import resolve
from vedette.vision.prepare import InputWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vedette.types import Frame

    Reals = NDArray[np.float32]

STEPS = 3000


class Example(NamedTuple):
    """What the backbone gives for one picture, (1, features), and the number of its label."""

    features: Reals
    label: int


class Learner:
    """The signatures of a file that `make` has written, on one of the runtimes. Raises: ModelError, RuntimeMissing."""

    def __init__(self, path: Path, runtime: str = "auto") -> None:
        self.model = read_model(path)
        spec = resolve(self.model, DetectorConfig(model=path))
        module = importlib.import_module(f"{PACKAGES[chosen_runtime(runtime)[0]]}.interpreter")
        self._native = module.Interpreter(model_content=flatbuffer_of(self.model), num_threads=1)
        self._runners = {key: self._native.get_signature_runner(key) for key in self._native.get_signature_list()}
        self._image = np.zeros(self.model.inputs[0].shape, self.model.inputs[0].dtype)
        self._writer = InputWriter(self._image, self.model.inputs[0], spec.input, color=spec.color, resize=spec.resize,
                                   normalization=spec.normalization)
        self.labels = self.model.outputs[0].shape[1]

    def features(self, frame: Frame) -> Reals:
        """Return what the frozen backbone gives for a picture, (1, features)."""
        self._writer.write(frame, WHOLE)
        return self._call("features", image=self._image)["features"]

    def train(self, examples: Sequence[Example], steps: int = STEPS, seed: int = 0) -> None:
        """Take so many steps, each with one picture, in a new order each time."""
        random = np.random.default_rng(seed)
        targets = np.eye(self.labels, dtype=np.float32)
        order: list[int] = []
        for _ in range(steps):
            order = order or random.permutation(len(examples)).tolist()
            example = examples[order.pop()]
            self._call("train", features=example.features, label=targets[[example.label]])

    def scores(self, frame: Frame) -> Reals:
        """Return the score of each label for a picture, (labels,)."""
        self._writer.write(frame, WHOLE)
        return np.asarray(self._call("infer", image=self._image)["scores"][0])

    def read(self) -> dict[str, Reals]:
        """Return the weights as they are now."""
        return {name: values.copy() for name, values in self._call("read").items()}

    def write(self, weights: Mapping[str, Reals]) -> None:
        """Replace the weights."""
        self._call("write", **weights)

    def file(self, first: Mapping[str, Reals]) -> bytes:
        """Return the file with the weights as they are now. `first`: those with which it was opened."""
        content = flatbuffer_of(self.model)
        for name, values in self.read().items():
            before = first[name].tobytes()
            if content.count(before) != 1:
                raise ValueError(f"{self.model.path}: {name} is in it {content.count(before)} times; expected once")
            content = content.replace(before, values.tobytes())
        return content

    def _call(self, signature: str, **inputs: Any) -> dict[str, Reals]:
        found: dict[str, Reals] = self._runners[signature](**inputs)
        return found


def main() -> None:
    """Learn from a folder, and write the file."""
    parser = argparse.ArgumentParser(description="Teaches a classifier the labels of your pictures.")
    parser.add_argument("model", type=Path, help="the file that examples.personalize.make has written, or a bundle")
    parser.add_argument("pictures", type=Path, help="a folder with a folder of pictures for each label")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .tflite file to write")
    parser.add_argument("--labels-out", type=Path, required=True, help="the file for the labels")
    parser.add_argument("--weights", type=Path, help="weights to begin with; those learnt are saved there (.npz)")
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    learner = Learner(args.model)
    first = learner.read()
    if args.weights and args.weights.exists():
        with np.load(args.weights) as saved:
            learner.write(dict(saved))
    folders = sorted(folder for folder in args.pictures.iterdir() if folder.is_dir())
    if len(folders) != learner.labels:
        parser.error(f"{args.pictures} has {len(folders)} folders; the model learns {learner.labels} labels")
    frames = [(images.frame_of(images.read(path), 1), label) for label, folder in enumerate(folders)
              for path in sorted(folder.iterdir())]
    learner.train([Example(learner.features(frame), label) for frame, label in frames], args.steps)
    right = np.mean([learner.scores(frame).argmax() == label for frame, label in frames])
    args.out.write_bytes(learner.file(first))
    args.labels_out.write_text("".join(f"{folder.name}\n" for folder in folders), encoding="utf-8")
    if args.weights:
        now = learner.read()
        np.savez(args.weights, weights=now["weights"], bias=now["bias"])
    print(f"{args.out}: {len(frames)} pictures of {len(folders)} labels learnt, {right:.0%} of them right")


if __name__ == "__main__":
    main()
