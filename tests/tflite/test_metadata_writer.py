"""TFLite Metadata as we write it: two readers find it, the model keeps its bytes, and hostile models are refused."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table as ForeignTable

from tests.support.models import writer
from tests.support.models.mutation import small_bases
from tests.support.present import present
from vedette.errors import ModelError
from vedette.tflite import metadata_writer
from vedette.tflite.file import ModelFile, read_model
from vedette.tflite.flatbuffer import Malformed
from vedette.tflite.metadata import parse
from vedette.tflite.metadata_writer import CATEGORY, COUNT, LOCATION, SCORE, Image

IMAGE = Image(320, 240, (127.5,), (127.5,))
REORDERED = (SCORE, LOCATION, COUNT, CATEGORY)


class Foreign:
    """A table as Google's own reader of FlatBuffers sees it."""

    def __init__(self, content: bytes, at: int | None = None) -> None:
        self.content = content
        start = flatbuffers.encode.Get(number_types.UOffsetTFlags.packer_type, content, 0) if at is None else at
        self.table = ForeignTable(content, start)

    def field(self, slot: int) -> int:
        return int(self.table.Offset(4 + 2 * slot))

    def number(self, slot: int, flags: Any) -> Any:
        return self.table.Get(flags, self.field(slot) + self.table.Pos)

    def text(self, slot: int) -> str:
        return str(self.table.String(self.field(slot) + self.table.Pos), "utf-8")

    def one(self, slot: int) -> Foreign:
        return Foreign(self.content, self.table.Indirect(self.field(slot) + self.table.Pos))

    def many(self, slot: int) -> list[Foreign]:
        start, count = self.vector(slot)
        return [Foreign(self.content, self.table.Indirect(start + 4 * place)) for place in range(count)]

    def vector(self, slot: int) -> tuple[int, int]:
        if not (at := self.field(slot)):
            return 0, 0
        return int(self.table.Vector(at)), int(self.table.VectorLen(at))

    def numbers(self, slot: int, flags: Any) -> list[Any]:
        start, count = self.vector(slot)
        return [self.table.Get(flags, start + flags.bytewidth * place) for place in range(count)]

    def content_of(self, slot: int) -> tuple[int, bytes]:
        start, count = self.vector(slot)
        return start, self.content[start:start + count]


def read(folder: Path, content: bytes) -> ModelFile:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return read_model(path)


def test_a_detector_is_described_as_both_libraries_look_for_it() -> None:
    """Google's reader finds each field in the slot of metadata_schema.fbs: names, boxes, labels, group and version."""
    content = metadata_writer.detector(IMAGE, REORDERED, "labels.txt")
    assert content[4:8] == b"M001"
    root = Foreign(content)
    assert (root.text(0), root.text(7)) == ("ObjectDetector", "1.2.0")
    graph, = root.many(3)
    image, = graph.many(2)
    assert image.one(3).number(0, number_types.Uint8Flags) == 2             # ImageProperties
    properties = image.one(3).one(1)
    assert properties.number(0, number_types.Int8Flags) == 1                # RGB
    assert [properties.one(1).number(slot, number_types.Uint32Flags) for slot in (0, 1)] == [320, 240]
    unit, = image.many(4)
    assert unit.number(0, number_types.Uint8Flags) == 1                     # NormalizationOptions
    assert [unit.one(1).numbers(slot, number_types.Float32Flags) for slot in (0, 1)] == [[127.5], [127.5]]
    outputs = {output.text(0): output for output in graph.many(3)}
    assert tuple(outputs) == REORDERED
    location = outputs[LOCATION].one(3)
    assert location.number(0, number_types.Uint8Flags) == 3                 # BoundingBoxProperties
    assert location.one(1).numbers(0, number_types.Uint32Flags) == [1, 0, 3, 2]
    assert [location.one(1).number(slot, number_types.Int8Flags) for slot in (1, 2)] == [1, 0]
    assert [location.one(2).number(slot, number_types.Int32Flags) for slot in (0, 1)] == [2, 2]
    file, = outputs[CATEGORY].many(6)
    assert (file.text(0), file.number(2, number_types.Int8Flags)) == ("labels.txt", 3)
    group, = graph.many(8)
    start, count = group.vector(1)
    names = [str(group.table.String(start + 4 * place), "utf-8") for place in range(count)]
    assert (group.text(0), names) == ("detection_result", [LOCATION, CATEGORY, SCORE])


def test_a_classifier_is_described_by_its_labels() -> None:
    """Our own reader finds the label file; without a normalization none is stated."""
    found = parse(metadata_writer.classifier(Image(224, 224), "labels.txt"))
    assert (found.name, found.inputs[0].mean, found.outputs[0].label_files) == ("ImageClassifier", (), ("labels.txt",))


def test_the_model_keeps_its_bytes_behind_the_metadata(tmp_path: Path) -> None:
    """Tensors and operations read as before; all moves by a multiple of 16 bytes, as the schema aligns weights."""
    plain = writer.convolution()
    before = read(tmp_path, plain)
    metadata = metadata_writer.classifier(IMAGE, "labels.txt")
    content = metadata_writer.with_metadata(plain, metadata)
    assert content.endswith(plain)
    after = read(tmp_path, content)
    assert (after.tensors, after.ops, after.inputs, after.outputs, after.description) == (
        before.tensors, before.ops, before.inputs, before.outputs, before.description)
    assert present(after.tflite_metadata).name == "ImageClassifier"
    assert (len(content) - len(plain)) % 16 == 0
    root = Foreign(content)
    entry, = root.many(6)
    start, inside = root.many(4)[entry.number(1, number_types.Uint32Flags)].content_of(0)
    assert (start % 16, inside) == (0, metadata)


def test_metadata_replaces_metadata_only(tmp_path: Path) -> None:
    """Another named buffer stays, and of two writings the last one counts."""
    plain = writer.build(writer.Graph(
        [writer.Tensor((1, 4), "int8", "x")], [], (0,), (0,),
        metadata={"TFLITE_METADATA": b"old", "min_runtime_version": b"2.5"}))
    content = plain
    for label_file in ("one.txt", "two.txt"):
        content = metadata_writer.with_metadata(content, metadata_writer.classifier(IMAGE, label_file))
    model = read(tmp_path, content)
    assert model.metadata["min_runtime_version"] == b"2.5"
    assert len(Foreign(content).many(6)) == 2
    assert present(model.tflite_metadata).outputs[0].label_files == ("two.txt",)


def test_the_bytes_do_not_change() -> None:
    """The same model gets the same bytes, on any machine and in every later version."""
    content = metadata_writer.with_metadata(writer.identity(), metadata_writer.detector(IMAGE, REORDERED, "labels.txt"))
    assert hashlib.sha256(content[:-len(writer.identity())]).hexdigest() == (
        "38a4097eacfa6afd3bc0ab15afb7caa3dea0ef80b92bce095194963562c4c02b")


@pytest.mark.parametrize("place", ["weights", "options"])
def test_bytes_found_by_their_place_in_the_file_are_refused(place: str) -> None:
    """Weights or options behind the flatbuffer would be lost, since everything moves."""
    b = flatbuffers.Builder(64)
    b.StartObject(13)
    b.PrependUint64Slot(1 if place == "weights" else 9, 64, 0)
    named = b.EndObject()
    vector = writer.offsets(b, [named])
    b.StartObject(4)
    b.PrependUOffsetTRelativeSlot(3, vector, 0)
    graphs = writer.offsets(b, [b.EndObject()])
    b.StartObject(8)
    b.PrependUint32Slot(0, 3, 0)
    b.PrependUOffsetTRelativeSlot(*((4, vector, 0) if place == "weights" else (2, graphs, 0)))
    b.Finish(b.EndObject(), file_identifier=b"TFL3")
    with pytest.raises(Malformed, match="expected all of them inside"):
        metadata_writer.with_metadata(bytes(b.Output()), b"metadata")


def test_hostile_models_are_refused_or_described(tmp_path: Path) -> None:
    """Damaged models raise `Malformed` or give a file that reads as before, never anything else."""
    rng = random.Random(14)
    metadata = metadata_writer.classifier(IMAGE, "labels.txt")
    described = 0
    for base in small_bases():
        for _ in range(25):
            content = bytearray(base.content)
            for _ in range(rng.randint(1, 3)):
                content[rng.choice(base.structure)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            try:
                whole = metadata_writer.with_metadata(bytes(content), metadata)
                before = read(tmp_path, bytes(content))
            except (Malformed, ModelError):
                continue
            described += 1
            assert read(tmp_path, whole).tensors == before.tensors
    assert described > 20
