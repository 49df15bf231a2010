"""Arguments of the commands that run a model, and the detector's configuration that they make.

Invariants: the message about a value that cannot be used names the value and what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from vedette.cli.arguments import between, file_path
from vedette.config.models import DetectorConfig
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse

RUNTIMES = ("auto", "litert", "tflite-runtime")


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what changes how a model is run, besides its file."""
    add_labels_argument(parser)
    add_threshold_arguments(parser)
    parser.add_argument("--max-detections", type=between(int, 1, 1000), metavar="N",
                        help="highest number of detections in one image")
    add_runtime_argument(parser)
    add_threads_argument(parser)


def add_labels_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--labels`."""
    parser.add_argument("--labels", dest="labels_file", type=file_path, metavar="F",
                        help="file with the labels, one a line or in another usual form; it replaces the model's "
                             "own")


def add_feeding_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how the model is fed and how its output is read."""
    parser.add_argument("--decoder", help="how the output is decoded: a value of detector.decoder")
    parser.add_argument("--color", choices=("rgb", "bgr"), help="order of the color channels of the input")
    parser.add_argument("--resize", choices=("letterbox", "stretch"), help="how a frame is fitted to the input")
    parser.add_argument("--mean", type=float, nargs="+", metavar="X",
                        help="input = (byte - mean) / std; one number, or one for each channel")
    parser.add_argument("--std", type=float, nargs="+", metavar="X", help="one number, or one for each channel")


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two thresholds."""
    parser.add_argument("--score-threshold", type=between(float, 0, 1), metavar="X",
                        help="lowest score of a detection, 0-1")
    parser.add_argument("--iou-threshold", type=between(float, 0, 1), metavar="Y",
                        help="boxes of one label whose IoU is higher are one object, 0-1")


def add_runtime_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Declare `--runtime`."""
    parser.add_argument("--runtime", choices=RUNTIMES, default=default, help="TFLite runtime (default: auto)")


def add_threads_argument(parser: argparse.ArgumentParser, default: int | None = None) -> None:
    """Declare `--threads`."""
    shown = default or DetectorConfig().threads
    parser.add_argument("--threads", type=between(int, 1, 16), default=default, metavar="N",
                        help=f"threads of the interpreter ({shown})")


def detector_of(args: argparse.Namespace, **more: object) -> DetectorConfig:
    """Return the configuration from the arguments that have the name of a key. Raises: UsageError."""
    given = {key: value for key, value in {**vars(args), **more}.items()
             if key in DetectorConfig.model_fields and value is not None}
    try:
        return DetectorConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "mean, std"
        raise UsageError(f"{where}: {first['msg']}") from error
