"""Reading model files: sound files are read correctly, and every other file is refused without harm."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import writer
from tests.support.models.mutation import REAL, mutant, small_bases
from tests.support.models.writer import Graph, Op, Tensor
from vedette.errors import ModelError, ModelUnreadable, ModelUnsupported
from vedette.tflite.file import read_model
from vedette.tflite.flatbuffer import Buffer, Malformed
from vedette.tflite.metadata import parse

HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


def write_model(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def test_tensors_and_operations_are_read(tmp_path: Path) -> None:
    """A sound file yields its tensors with quantization and its operations in the graph's order."""
    model = read_model(write_model(tmp_path, writer.convolution(size=16, channels=8)))
    image, features = model.inputs[0], model.outputs[0]
    assert (image.name, image.shape, image.dtype, image.zero_point) == ("image", (1, 16, 16, 3), "int8", -128)
    assert image.scale == pytest.approx(1 / 255)
    assert features.shape == (1, 16, 16, 8)
    assert [op.name for op in model.ops] == ["CONV_2D", "CONV_2D"]
    assert model.ops[1].inputs[0] == model.ops[0].outputs[0]
    assert model.description == "made by a test"


def test_per_channel_weights_have_scale_zero(tmp_path: Path) -> None:
    """A tensor quantised per channel has no single scale: it has 0.0, not the first channel's scale."""
    model = read_model(write_model(tmp_path, writer.convolution()))
    weights = next(tensor for tensor in model.tensors if tensor.name == "weights0")
    assert (weights.scale, weights.quantised) == (0.0, False)


def test_whole_file_and_flatbuffer_have_different_digests(tmp_path: Path) -> None:
    """`sha256` includes the appended ZIP, `flatbuffer_sha256` does not."""
    plain = writer.logistic()
    bundle = writer.with_zip(plain, {"labels.txt": b"cat\ndog\n", "golden/1.png": b"\x89PNG"})
    model = read_model(write_model(tmp_path, bundle))
    assert model.flatbuffer_sha256 == hashlib.sha256(plain).hexdigest()
    assert model.sha256 == hashlib.sha256(bundle).hexdigest()
    assert dict(model.attachments) == {"labels.txt": b"cat\ndog\n", "golden/1.png": b"\x89PNG"}


def test_tflite_metadata_is_read(tmp_path: Path) -> None:
    """Normalization and label file are read from the buffer `TFLITE_METADATA`."""
    model = read_model(write_model(tmp_path, writer.described()))
    assert model.tflite_metadata is not None
    assert model.tflite_metadata.inputs[0].mean == (127.5,)
    assert model.tflite_metadata.inputs[0].std == (128.0,)
    assert model.tflite_metadata.outputs[0].label_files == ("labels.txt",)
    assert model.attachments["labels.txt"] == b"cat\ndog\n"


def test_the_known_custom_operation_passes(tmp_path: Path) -> None:
    """SSD's post-process is the one custom operation that both runtimes have."""
    model = read_model(write_model(tmp_path, writer.detection_postprocess()))
    assert [(op.name, op.custom, op.outputs) for op in model.ops] == [
        ("TFLite_Detection_PostProcess", True, (3, 4, 5, 6))]


@pytest.mark.parametrize("name", ["FlexErf", "Convolution2DTransposeBias"])
def test_other_custom_operations_are_refused_by_name(tmp_path: Path, name: str) -> None:
    """A custom operation that no runtime has is refused before any runtime sees it. The error names it."""
    with pytest.raises(ModelUnsupported, match=name):
        read_model(write_model(tmp_path, writer.custom(name)))


@pytest.mark.parametrize(("content", "seen"), [
    (b"", "empty"), (HTML, "web page"), (b"\n  <html>", "web page"), (b"TFL3", "only 4 bytes"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"), (b"PK\x03\x04 a zip", "ZIP archive"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG picture"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x1f\x8b\x08\x00", "gzip"),
    (bytes(range(100, 200)), "bytes 4-8 are b'hijk'"), (b"\0\0\0\0TFL3", "cut off or damaged"),
])
def test_the_error_says_what_the_file_is_instead_of_a_model(tmp_path: Path, content: bytes, seen: str) -> None:
    """The message names the file and what it contains instead of a model."""
    path = write_model(tmp_path, content)
    with pytest.raises(ModelUnreadable, match=seen) as refusal:
        read_model(path)
    assert str(path) in str(refusal.value)


def test_a_path_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe (to open it would block) and an impossible name are all refused."""
    os.mkfifo(tmp_path / "pipe")
    for path, seen in ((tmp_path / "absent", "No such file"), (tmp_path, "a folder"),
                       (tmp_path / "pipe", "no regular file"), (Path("nul\0"), "NUL")):
        with pytest.raises(ModelUnreadable, match=seen):
            read_model(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """The reader alone refuses a file that is cut off at any byte, also inside its weights or its ZIP."""
    whole = writer.with_zip(writer.convolution(size=8, channels=2), {"labels.txt": b"cat\n"})
    padding = len(writer.convolution(size=8, channels=2))
    for length in range(len(whole)):
        if length == padding:
            continue        # only the ZIP is missing: a sound model without labels
        with pytest.raises(ModelUnreadable):
            read_model(write_model(tmp_path, whole[:length]))


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    """Only schema version 3 is supported."""
    graph = Graph([Tensor((1,))], [], (0,), (0,), version=4)
    with pytest.raises(ModelUnreadable, match="schema version 4"):
        read_model(write_model(tmp_path, writer.build(graph)))


@pytest.mark.parametrize(("graph", "seen"), [
    (Graph([Tensor((1,))], [Op("ABS", (0,), (7,))], (0,), (0,)), "uses a tensor that does not exist"),
    (Graph([Tensor((1,))], [], (0,), (3,)), "an input or output is tensor 3"),
    (Graph([Tensor((1,), scales=(float("nan"),), zero_points=(0,))], [], (0,), (0,)), "scales nan"),
    (Graph([Tensor((1,), scales=(-0.5,), zero_points=(0,))], [], (0,), (0,)), "scales -0.5"),
])
def test_indices_and_scales_are_checked(tmp_path: Path, graph: Graph, seen: str) -> None:
    """The reader checks what later code relies on, such as indices that exist and finite scales."""
    with pytest.raises(ModelUnreadable, match=seen):
        read_model(write_model(tmp_path, writer.build(graph)))


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """An archive that unpacks to more than labels and settings need is refused before it is unpacked."""
    bomb = writer.with_zip(writer.identity(), {f"{index}.txt": bytes(9 << 20) for index in range(4)})
    assert len(bomb) < 100_000
    with pytest.raises(ModelUnreadable, match="more than 32 MiB"):
        read_model(write_model(tmp_path, bomb))


def test_a_zip_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """A file that unpacks to more than its entry states is read up to that size, and fails its checksum."""
    bomb = bytearray(writer.with_zip(writer.identity(), {"labels.txt": bytes(9 << 20)}))
    size = struct.pack("<I", 9 << 20)
    while (at := bomb.find(size)) >= 0:
        bomb[at:at + 4] = struct.pack("<I", 100)
    with pytest.raises(ModelUnreadable, match="damaged"):
        read_model(write_model(tmp_path, bytes(bomb)))


def test_a_zip_entry_without_a_name_does_no_harm(tmp_path: Path) -> None:
    """An attachment may have an empty name, although zipfile's own `is_dir` fails on it."""
    whole = io.BytesIO()
    whole.write(writer.identity())
    with zipfile.ZipFile(whole, "a") as archive, archive.open(zipfile.ZipInfo(""), "w") as entry:
        entry.write(b"nameless")
    assert dict(read_model(write_model(tmp_path, whole.getvalue())).attachments) == {"": b"nameless"}


def test_a_zip_of_another_compression_method_is_refused(tmp_path: Path) -> None:
    """Only stored and deflated files are unpacked: the output of the other methods has no bound."""
    whole = io.BytesIO()
    whole.write(writer.identity())
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("labels.txt", b"cat\n")
    with pytest.raises(ModelUnreadable, match="method 14"):
        read_model(write_model(tmp_path, whole.getvalue()))


def test_the_last_byte_may_be_read_and_none_behind_it() -> None:
    """An offset that is one too large is Malformed, not an error of struct."""
    buffer = Buffer(memoryview(b"\1\0\0\0\2"))
    assert buffer.number("I", 0) == 1
    assert buffer.number("B", 4) == 2
    for code, at in (("I", 2), ("B", 5), ("H", 4), ("I", -1)):
        with pytest.raises(Malformed):
            buffer.number(code, at)


def test_structure_that_repeats_itself_is_bounded() -> None:
    """A vector of a million references to one table is refused as soon as the budget is used up."""
    count = 1_000_000
    table = struct.pack("<HHi", 4, 4, 4)                   # an empty vtable, and the table that uses it
    root = struct.pack("<HHHxxiI", 6, 8, 4, 8, 4)          # a root table whose slot 0 is the vector
    vector_at = 4 + len(root)
    tables_at = vector_at + 4 + 4 * count
    references = b"".join(struct.pack("<I", tables_at + 4 - (vector_at + 4 + 4 * index)) for index in range(count))
    buffer = Buffer(memoryview(struct.pack("<I", 12) + root + struct.pack("<I", count) + references + table))
    with pytest.raises(Malformed, match="form a loop"):
        list(buffer.root().tables(0))


@given(st.binary(max_size=400))
def test_any_bytes_raise_nothing_but_a_model_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """The reader returns a model or raises ModelError, whatever follows the identifier."""
    folder = tmp_path_factory.getbasetemp()
    try:
        read_model(write_model(folder, content[:4].ljust(4, b"\0") + b"TFL3" + content[4:]))
    except ModelError as error:
        assert str(error)       # noqa: PT017 - an error is one of the two correct outcomes


@given(number=st.integers(0, 10**9))
def test_any_mutant_raises_nothing_but_a_model_error(tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    """A sound file with bytes, offsets or parts changed yields a model or a ModelError."""
    folder = tmp_path_factory.getbasetemp()
    try:
        read_model(write_model(folder, mutant(number, small_bases(), [])))
    except ModelError as error:
        assert str(error)       # noqa: PT017 - as above


@given(st.data())
def test_mutated_metadata_raises_nothing_but_malformed(data: st.DataObject) -> None:
    """A TFLITE_METADATA buffer with any bytes changed is parsed or refused."""
    content = bytearray(writer.tflite_metadata(mean=1.0, std=2.0, label_file="labels.txt"))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(content))
    except Malformed as error:
        assert str(error)       # noqa: PT017 - as above


@pytest.mark.skipif(not REAL.is_dir(), reason="the real models are not here")
def test_real_models_are_read() -> None:
    """The inputs, labels and metadata of real exports are read as their makers wrote them."""
    ssd = read_model(REAL / "ssd_mobilenet_v1_coco_uint8_metadata.tflite")
    assert ssd.inputs[0].shape == (1, 300, 300, 3)
    assert ssd.attachments["labelmap.txt"].startswith(b"person\n")
    assert ssd.tflite_metadata is not None
    assert ssd.tflite_metadata.outputs[1].label_files == ("labelmap.txt",)
    yolo = read_model(REAL / "yolov8n_416_coco_int8.tflite")
    assert (yolo.outputs[0].dtype, yolo.outputs[0].shape) == ("int8", (1, 84, 3549))
    assert b"names" in yolo.attachments["temp_meta.txt"]
    cars = read_model(REAL / "mediapipe_modelmaker_256_car_uint8.tflite")
    assert cars.tflite_metadata is not None
    assert "DETECTOR_METADATA" in cars.tflite_metadata.custom
    with pytest.raises(ModelUnsupported, match="fake-op-double"):
        read_model(REAL / "invalid_invoke_error.tflite")
