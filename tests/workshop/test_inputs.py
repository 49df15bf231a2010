"""What a network is, is found in its content; what no tool converts is refused with what to do instead."""

import pickle
import zipfile
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import pytest

from vedette.errors import ModelError, ModelUnreadable, ModelUnsupported
from vedette.workshop.inputs import source_of


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pickled(value: object) -> bytes:
    """As PyTorch pickles: protocol 2, which names each class in one operation."""
    return pickle.dumps(value, protocol=2)


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("a.tflite", b"\x1c\0\0\0TFL3", "tflite"), ("a.h5", b"\x89HDF\r\n\x1a\n", "keras"),
    ("a.onnx", b"\x08\x08", "onnx")])
def test_a_file_is_known_by_its_first_bytes(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    """Whatever its name is, but for ONNX, which has no mark."""
    path = tmp_path / name
    path.write_bytes(content)
    assert source_of(path).kind == kind


@pytest.mark.parametrize(("files", "kind"), [
    ({"config.json": b"{}", "model.weights.h5": b""}, "keras"),
    ({"net/archive_format": b"pt2", "net/models/model.json": b"{}"}, "exported-program"),
    ({"best/data.pkl": b"cultralytics.nn.tasks\nDetectionModel\n."}, "ultralytics"),
    ({"net/data.pkl": pickled(Fraction(1, 2))}, "module")])
def test_a_zip_is_known_by_what_is_in_it(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    """Keras and both formats of PyTorch are ZIP files. Nothing in a pickle is loaded."""
    assert source_of(zipped(tmp_path / "net.pt", files)).kind == kind


@pytest.mark.parametrize(("name", "content", "error", "said"), [
    ("w.pt", {"w/data.pkl": pickled(OrderedDict(a=1))}, ModelUnsupported, r"weights without .*torch\.export\.save"),
    ("s.pt", {"s/code/net.py": b"", "s/data.pkl": b""}, ModelUnsupported, r"TorchScript.*torch\.export\.save"),
    ("z.pt", {"readme.txt": b""}, ModelUnsupported, "without a network"),
    ("c.pt", {"c/data.pkl": b"\xff"}, ModelUnreadable, "damaged checkpoint"),
    ("d.pt", b"PK not a zip", ModelUnreadable, "damaged ZIP"),
    ("old.pth", b"\x80\x02", ModelUnsupported, "before PyTorch 1.6"),
    ("g.pb", b"\x0a", ModelUnsupported, "SavedModel folder"),
    ("x.bin", b"what", ModelUnsupported, r"expected a \.tflite, \.onnx"),
    ("e.onnx", b"", ModelUnreadable, "empty")])
def test_what_cannot_be_converted_is_refused(tmp_path: Path, name: str, content: bytes | dict[str, bytes],
                                             error: type[ModelError], said: str) -> None:
    """The message names the file and the way out."""
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        zipped(path, content)
    with pytest.raises(error, match=rf"{name}.*{said}"):
        source_of(path)


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 99)], ids=["encrypted", "unknown method"])
def test_a_zip_that_cannot_be_unpacked_is_damaged(tmp_path: Path, at: int, value: int) -> None:
    """What encrypts it or packs it otherwise is no checkpoint of PyTorch."""
    path = zipped(tmp_path / "net.pt", {"net/data.pkl": b"x"})
    content = bytearray(path.read_bytes())
    content[at] = content[content.index(b"PK\x01\x02") + at + 2] = value
    path.write_bytes(content)
    with pytest.raises(ModelUnreadable, match=r"net\.pt: a damaged ZIP file"):
        source_of(path)


def test_a_folder_is_a_saved_model_or_refused(tmp_path: Path) -> None:
    """Its digest covers its weights. A missing file is named."""
    with pytest.raises(ModelUnsupported, match=r"no saved_model\.pb"):
        source_of(tmp_path)
    with pytest.raises(ModelUnreadable, match=r"none\.onnx.*No such file"):
        source_of(tmp_path / "none.onnx")
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "variables.data").write_bytes(b"1")
    first = source_of(tmp_path)
    assert first.kind == "saved-model"
    (tmp_path / "variables" / "variables.data").write_bytes(b"2")
    assert source_of(tmp_path).sha256 != first.sha256


def test_weights_beside_an_onnx_file_belong_to_it(tmp_path: Path) -> None:
    """A new training with the same graph is another network."""
    path, weights = tmp_path / "net.onnx", tmp_path / "net.weights"
    path.write_bytes(b"\x08\x08 ... \n\x08location\x12\x0bnet.weights ...")
    weights.write_bytes(b"1")
    first = source_of(path).sha256
    (tmp_path / "net.other").write_bytes(b"x")
    assert source_of(path).sha256 == first
    weights.write_bytes(b"2")
    assert source_of(path).sha256 != first


def test_weights_may_have_an_absolute_path(tmp_path: Path) -> None:
    """The digest covers them too, wherever they are."""
    place = Path("/etc/hostname")
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\n\x08location\x12" + bytes([len(str(place))]) + str(place).encode())
    assert len(source_of(path).sha256) == 64
