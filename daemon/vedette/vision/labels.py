"""Reads label lists and aligns them with the class ids of a model.

Invariants: the position of a label in the list is its class id; an id beyond the list has a name too (`class_7`).
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnsupported
from vedette.vision.limits import PLACEHOLDERS

BACKGROUND = "background"
FILE_BYTES_MAX = 2**20


def label_of(labels: tuple[str, ...], class_id: int) -> str:
    """Return the label of a class id, also of one beyond the list."""
    return labels[class_id] if class_id < len(labels) else f"class_{class_id}"


def parse_lines(text: str) -> tuple[str, ...]:
    """Return the labels of a text with one label per line. Empty lines at the end are dropped, others count."""
    return tuple(line.strip() for line in text.removeprefix("\ufeff").rstrip().splitlines())


def read_file(path: Path) -> tuple[str, ...]:
    """Read a label file. Raises: ModelUnsupported when it cannot be read or has no label."""
    try:
        labels = parse_lines(read_whole(path, FILE_BYTES_MAX).decode())
    except (OSError, UnicodeDecodeError) as error:
        seen = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ModelUnsupported(f"labels file {path}: {seen}; expected text with one label per line") from error
    if not labels:
        raise ModelUnsupported(f"labels file {path}: empty; expected one label per line")
    return labels


def parse_names(names: object) -> tuple[str, ...] | None:
    """Return the labels in the `names` of an Ultralytics export: a list, or a mapping from class id; None if neither.
    """
    if isinstance(names, list):
        return tuple(map(str, names))
    if not isinstance(names, dict):
        return None
    try:
        by_id = {int(class_id): str(label) for class_id, label in names.items()}
    except (TypeError, ValueError):
        return None
    if not by_id or min(by_id) < 0 or max(by_id) > 100_000:
        return None
    return tuple(by_id.get(class_id, "") for class_id in range(max(by_id) + 1))


def parse_literal(text: str) -> dict[str, object] | None:
    """Return a JSON object, or a dict written as a Python literal; None for other text. Nothing is evaluated."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}
    return None


def align(labels: tuple[str, ...], *, classes: int | None, background: bool) -> tuple[str, ...]:
    """Return the list shifted so that it starts at class id 0.

    `classes` is the number of classes in the output, None where only the post-process operation knows it. That
    operation leaves out the background, so a placeholder at the start of the list is removed. `background`: class id 0
    is the background.
    """
    if classes is None:
        return labels[1:] if labels and labels[0] in PLACEHOLDERS else labels
    if background and len(labels) in {0, classes - 1}:
        return (BACKGROUND, *labels)
    return labels
