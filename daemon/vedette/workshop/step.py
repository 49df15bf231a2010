"""What a step is: pictures in, detections out. `steps` opens them.

Invariants: one thread uses a step; a picture that it cannot answer raises, and never becomes an empty result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from vedette.types import Frame
from vedette.workshop.prepared import Pictures

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.types import Detection, ModelRef
    from vedette.vision.model_spec import ModelSpec
    from vedette.vision.privacy_masks import Polygon

Kind = Literal["tflite", "onnx", "torch", "device", "results"]


class Picture(NamedTuple):
    """A frame with its name in reports, and the name of its file, which the annotations of a truth have."""

    name: str
    frame: Frame
    file: str = ""


def read_pictures(paths: Sequence[Path], masks: Sequence[Polygon] = ()) -> Iterator[Picture]:
    """Read image files one by one, with the privacy masks painted. Raises: SourceInvalid."""
    for path, frame in zip(paths, Pictures(paths, masks), strict=True):
        yield Picture(path.stem, frame, path.name)


class Step(Protocol):
    """One step of the way to the device: pictures in, detections out. One thread uses it.

    `exact`: it calculates with floats, so another such step must agree with it closely. `notes` are warnings for
    its owner. `invoke_ms`: of the last picture; None where it is unknown.
    """

    name: str
    kind: Kind
    exact: bool
    notes: tuple[str, ...]
    invoke_ms: float | None

    @property
    def spec(self) -> ModelSpec | None:
        """How its pictures are prepared; None where that is unknown."""
        ...

    @property
    def model(self) -> ModelFile | None:
        """The file, where there is one."""
        ...

    @property
    def ref(self) -> ModelRef | None:
        """Which model it is, as far as anything says so."""
        ...

    @property
    def runtime(self) -> str | None:
        """Name and version of what runs it; None where it is unknown."""
        ...

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """Return what it detects with its own thresholds. Raises: DetectError, CloudError, SourceInvalid."""
        ...

    def detect_all(self, picture: Picture) -> tuple[Detection, ...]:
        """Return what counts for average precision; from answers, what they have. Raises: as `detect`."""
        ...

    def first_values(self, picture: Picture) -> tuple[float, ...]:
        """Return the first ten values of the prepared input where the picture is, in the order row, pixel, channel.

        They are real values, also of an INT8 input. None are known of answers.
        """
        ...

    def close(self) -> None:
        """Free what it holds. Safe to call twice."""
        ...
