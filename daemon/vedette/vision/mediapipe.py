"""Describes a model to MediaPipe Tasks and the TFLite Task Library, or says why they cannot read it as Vedette does.

Invariants: a model is described only if both then prepare the same input and read the same scores and boxes.
Sources: image_tensor_specs.cc, detection_postprocessing_graph.cc and classification_postprocessing_graph.cc of
MediaPipe Tasks; object_detector.cc of TFLite Support.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.tflite import metadata_writer
from vedette.tflite.file import DETECTION_POSTPROCESS, ModelFile
from vedette.tflite.flatbuffer import Malformed
from vedette.tflite.metadata_writer import CATEGORY, COUNT, LOCATION, SCORE, Image
from vedette.vision.decoders.maker import is_probability
from vedette.vision.normalization import ZERO_TO_ONE, Normalization, normalization_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vedette.vision.model_spec import ModelSpec

_ROLES = (LOCATION, CATEGORY, SCORE, COUNT)     # in the order of the operation's outputs
_DECODERS = ("ssd", "anchors", "classifier")
_ANCHORS = "DETECTOR_METADATA"
_TYPES = ("uint8", "float32")


def unreadable(model: ModelFile, spec: ModelSpec) -> str | None:
    """Return why these libraries cannot read a model as Vedette does; None where they can."""
    return next(_obstacles(model, spec), None)


def described(flatbuffer: bytes, model: ModelFile, spec: ModelSpec, label_file: str) -> bytes:
    """Return the flatbuffer with TFLite Metadata; `label_file` names the labels in the ZIP behind it.

    The model must be readable. Raises: Malformed for a model to which nothing can be added.
    """
    if metadata_writer.graphs(flatbuffer) != 1:
        raise Malformed("it has several graphs; expected one")
    normalization = _normalization(model, spec)
    image = Image(spec.input.width, spec.input.height, *(normalization or ((), ())))
    metadata = (metadata_writer.classifier(image, label_file) if spec.decoder == "classifier"
                else metadata_writer.detector(image, _outputs(model), label_file))
    return metadata_writer.with_metadata(flatbuffer, metadata)


def _obstacles(model: ModelFile, spec: ModelSpec) -> Iterator[str]:
    image = model.inputs[0]
    if spec.decoder not in _DECODERS:
        yield f"decoder {spec.decoder}; they know {', '.join(_DECODERS)}"
    if spec.decoder == "anchors" and not (model.tflite_metadata and _ANCHORS in model.tflite_metadata.custom):
        yield f"decoder anchors without the {_ANCHORS} of MediaPipe Model Maker"
    if image.dtype not in _TYPES or spec.input.channels != 3 or spec.input.planar:
        yield f"input {image}; they know 1xHxWx3 of {' or '.join(_TYPES)}"
    if spec.color != "rgb" or spec.resize != "stretch":
        yield f"color {spec.color}, resize {spec.resize}; they know rgb and stretch"
    if image.dtype == "uint8" and spec.normalization not in {None, normalization_of(image)}:
        yield "an input of bytes that has a normalization; they give it the bytes of the picture"
    if spec.normalization and len({*spec.normalization.mean}) + len({*spec.normalization.std}) > 2:
        yield "a normalization for each channel; they know one for all"
    if spec.decoder == "ssd" and len(model.outputs) != 4:
        yield f"{len(model.outputs)} outputs; they know the 4 of {DETECTION_POSTPROCESS}"
    if spec.decoder == "classifier":
        yield from _obstacles_of_scores(model)


def _obstacles_of_scores(model: ModelFile) -> Iterator[str]:
    output = model.outputs[0]
    if output.dtype not in _TYPES:
        yield f"output {output}; they know {' or '.join(_TYPES)}"
    if not is_probability(model, output):
        yield "outputs that are no probabilities; they show them as they are"


def _normalization(model: ModelFile, spec: ModelSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std, one number each; None where bytes without quantization go in."""
    image = model.inputs[0]
    stated: Normalization | None = spec.normalization
    if stated is None and image.dtype == "float32":
        stated = ZERO_TO_ONE
    elif stated is None and image.quantised:
        stated = normalization_of(image)
    return None if stated is None else (stated.mean[:1], stated.std[:1])


def _outputs(model: ModelFile) -> tuple[str, ...]:
    op = next(op for op in model.ops if op.name == DETECTION_POSTPROCESS)
    roles = dict(zip(op.outputs, _ROLES, strict=True))
    return tuple(roles[output.index] for output in model.outputs)
