"""Writes bundles: a model's flatbuffer with its settings, labels and golden frames in a ZIP behind it.

Invariants: the flatbuffer's bytes are not changed. The same parts give the same bytes at any time and on any machine. A
bundle states every setting that the model was packed with, so that a later change of a default cannot change it.
`hints` reads what is written here.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vedette.errors import ModelDamaged, ModelUnreadable
from vedette.tflite import appended_zip
from vedette.tflite.file import ModelFile, read_bytes
from vedette.tflite.model_errors import with_model_errors_only
from vedette.vision.baseline import Baseline, parse
from vedette.vision.documents import check_size, parse_dict
from vedette.vision.hints import BUNDLE
from vedette.vision.model_spec import ModelSpec

LABELS = "labels.txt"
_WRITTEN = (1980, 1, 1, 0, 0, 0)    # the oldest time that a ZIP can state: the bytes must not depend on the clock


def assemble(flatbuffer: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the whole `.tflite` file: the flatbuffer and a ZIP of the files, sorted by name."""
    whole = io.BytesIO()
    whole.write(flatbuffer)
    with zipfile.ZipFile(whole, "a") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _WRITTEN)
            entry.create_system = 3     # Unix, on every machine
            # PNGs are compressed already. For the other files the bytes would depend on the version of zlib.
            archive.writestr(entry, files[name], zipfile.ZIP_STORED)
    return whole.getvalue()


def settings_json(spec: ModelSpec, flatbuffer_sha256: str, *, name: str, version: str,
                baseline: Baseline | None = None) -> bytes:
    """Return vedette.json: every setting that is needed to run the model."""
    normalization = spec.normalization
    settings: dict[str, Any] = {
        "name": name, "version": version, "sha256": flatbuffer_sha256, "decoder": spec.decoder, "color": spec.color,
        "resize": spec.resize,
        "normalization": normalization and {"mean": normalization.mean, "std": normalization.std},
        "thresholds": {"score": spec.limits.score_threshold, "iou": spec.limits.iou_threshold,
                       "labels": dict(spec.limits.labels)},
        "baseline": baseline and baseline.model_dump()}
    stated = {key: value for key, value in settings.items() if value is not None}
    return (json.dumps(stated, indent=1) + "\n").encode()


def labels_text(labels: tuple[str, ...]) -> bytes:
    """Return labels.txt: one label per line, the first for class id 0."""
    return "".join(f"{label}\n" for label in labels).encode()


def flatbuffer_of(model: ModelFile) -> bytes:
    """Return the bytes before the ZIP. Raises: ModelUnreadable, ModelDamaged (the file was replaced since the check).
    """
    content = read_bytes(model.path)
    flatbuffer = content[:appended_zip.split(content)[0]]
    if hashlib.sha256(flatbuffer).hexdigest() != model.flatbuffer_sha256:
        raise ModelDamaged(f"{model.path}: no longer the file that was checked; expected a flatbuffer with SHA-256 "
                           f"{model.flatbuffer_sha256}")
    return flatbuffer


def check_digest(path: Path) -> bool:
    """Compare a file's flatbuffer with the digest that its bundle states; returns False when it states none.

    The flatbuffer is not parsed, so that this check finds damage that could harm a parser.
    Raises: ModelUnreadable, ModelDamaged.
    """
    content = read_bytes(path)
    try:
        zip_start, settings = appended_zip.find(content, BUNDLE)
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{path}: {error}") from error
    stated = _settings(settings, path)
    if "sha256" not in stated:
        return False
    digest = hashlib.sha256(content[:zip_start]).hexdigest()
    if digest != stated["sha256"]:
        raise ModelDamaged(f"{path}: {BUNDLE} states SHA-256 {stated['sha256']} for the flatbuffer; it has {digest}")
    return True


def with_matching_digest(model: ModelFile) -> ModelFile:
    """Return the model with a bundle that states its actual digest, so that a damaged one can be inspected."""
    stated = _settings(model.attachments.get(BUNDLE), model.path)
    content = json.dumps({**stated, "sha256": model.flatbuffer_sha256}).encode()
    return replace(model, attachments={**model.attachments, BUNDLE: content})


@with_model_errors_only
def baseline_of(model: ModelFile) -> Baseline | None:
    """Return the training baseline of a bundle, None without one. Raises: ModelUnsupported, naming the key."""
    stated = _settings(model.attachments.get(BUNDLE), model.path).get("baseline")
    return None if stated is None else parse(stated, f"{model.path}: {BUNDLE}: baseline")


def _settings(content: bytes | None, path: Path) -> Mapping[str, object]:
    check_size(content or b"", f"{path}: {BUNDLE}")
    return parse_dict(content or b"") or {}
