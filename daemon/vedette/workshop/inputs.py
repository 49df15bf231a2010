"""What kind of network a file or folder holds, found in its content without running any of it.

Invariants: a file that no tool converts is refused here, with what to do instead. The digest of an input covers every
file that belongs to it, also the weights that an ONNX file keeps beside itself.
"""

from __future__ import annotations

import hashlib
import os
import pickletools
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vedette.errors import ModelUnreadable, ModelUnsupported

Kind = Literal["tflite", "onnx", "exported-program", "module", "ultralytics", "saved-model", "keras"]
_HDF5 = b"\x89HDF\r\n\x1a\n"
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)      # the last one: encrypted, or an unknown method
_EXTERNAL = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
_EXPORT = "export it where it was trained: torch.export.save(torch.export.export(net.eval(), (example,)), 'net.pt2')"


@dataclass(frozen=True, slots=True)
class Source:
    """A network to convert, and the digest of all its files."""

    path: Path
    kind: Kind
    sha256: str


def source_of(path: Path) -> Source:
    """Return what a path holds. Raises: ModelUnreadable, ModelUnsupported (no tool converts it)."""
    try:
        kind = _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)
        return Source(path, kind, _digest(path, kind))
    except OSError as error:
        raise ModelUnreadable(f"{path}: {error.strerror}; expected a network") from error
    except _DAMAGE as error:
        raise ModelUnreadable(f"{path}: a damaged ZIP file: {error}") from error


def _kind_of_folder(path: Path) -> Kind:
    if (path / "saved_model.pb").exists():
        return "saved-model"
    raise ModelUnsupported(f"{path}: no saved_model.pb in it; expected a SavedModel folder or a file")


def _kind_of_file(path: Path) -> Kind:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ModelUnreadable(f"{path}: empty; expected a network")
    if head[4:8] == b"TFL3":
        return "tflite"
    if head == _HDF5:
        return "keras"
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix in (".pt", ".pth"):
        raise ModelUnsupported(f"{path}: a checkpoint from before PyTorch 1.6, or none; {_EXPORT}")
    if path.suffix == ".pb":
        raise ModelUnsupported(f"{path}: a frozen graph of TensorFlow 1; expected a SavedModel folder")
    raise ModelUnsupported(f"{path}: no network that is known here; expected a .tflite, .onnx, .pt2, .pt, .keras or "
                           ".h5 file, or a SavedModel folder")


def _kind_of_zip(path: Path) -> Kind:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" in names:
            return "keras"
        if any(name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names):
            return "exported-program"
        if any("/code/" in name for name in names):
            raise ModelUnsupported(f"{path}: TorchScript, which no converter reads any more; {_EXPORT}")
        pickled = next((name for name in names if name.endswith("data.pkl")), None)
        if pickled is None:
            raise ModelUnsupported(f"{path}: a ZIP file without a network in it")
        try:
            classes = _classes(archive.read(pickled))
        except ValueError as error:
            raise ModelUnreadable(f"{path}: a damaged checkpoint: {error}") from error
    if any(name.startswith("ultralytics.") for name in classes):
        return "ultralytics"
    if all(name.startswith(("collections ", "torch._utils ", "torch ")) for name in classes):
        raise ModelUnsupported(f"{path}: weights without their network (a state_dict); {_EXPORT}")
    return "module"


def _classes(pickled: bytes) -> set[str]:
    """Return `module name` of each class that a pickle would load. Nothing is loaded. Raises: ValueError."""
    return {str(argument) for operation, argument, _ in pickletools.genops(pickled) if operation.name == "GLOBAL"}


def _digest(path: Path, kind: Kind) -> str:
    parts = [path]
    if kind == "saved-model":
        parts = sorted(part for part in path.rglob("*") if part.is_file())
    elif kind == "onnx":
        content = path.read_bytes()
        names = {content[found.end():found.end() + found[1][0]] for found in _EXTERNAL.finditer(content)}
        beside = (path.parent / name.decode(errors="replace") for name in sorted(names))
        parts += [part for part in beside if part.is_file()]
    whole = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{os.path.relpath(part, path.parent)} {sha256}\n".encode())
    return whole.hexdigest()
