"""Reads label lists and aligns them with the class ids of a model.

Invariants: the position of a label in the list is its class id; an id beyond the list has a name too (`class_7`).
A list of too many or too long labels is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from vedette.errors import ModelUnsupported
from vedette.vision.limits import PLACEHOLDERS

BACKGROUND = "background"
EXPECTED = ("expected one label a line, a number and a label a line, JSON, YAML with `names:`, CSV, or a .pbtxt label "
            "map")
HEADS = frozenset({"name", "label", "class", "class_name", "category", "Name", "Label", "Class"})
LABELS_MAX = 100_000
LABEL_LENGTH_MAX = 256


def label_of(labels: tuple[str, ...], class_id: int) -> str:
    """Return the label of a class id, also of one beyond the list."""
    return labels[class_id] if class_id < len(labels) else f"class_{class_id}"


def parse_lines(text: str) -> tuple[str, ...]:
    """Return the labels of a text with one label per line. Empty lines at the end are dropped, others count."""
    return tuple(line.strip() for line in text.removeprefix("\ufeff").rstrip().splitlines())


def checked(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the labels. Raises: ModelUnsupported, naming `where`, for too many of them or one that is too long."""
    if len(labels) > LABELS_MAX:
        raise ModelUnsupported(f"{where}: {len(labels):,} labels; expected at most {LABELS_MAX:,}")
    longest = max(map(len, labels), default=0)
    if longest > LABEL_LENGTH_MAX:
        raise ModelUnsupported(f"{where}: a label of {longest:,} characters; expected at most {LABEL_LENGTH_MAX}")
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
    if not by_id or min(by_id) < 0 or max(by_id) > LABELS_MAX:
        return None
    return tuple(by_id.get(class_id, "") for class_id in range(max(by_id) + 1))


def refusal(where: str, form: str) -> ModelUnsupported:
    """Return the error for a text of a form that cannot be read."""
    return ModelUnsupported(f"{where}: {form}; {EXPECTED}")


def by_id(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return the labels of pairs of id and label; None where an id comes twice, or where all labels are one word."""
    names = dict(pairs)
    if len(names) < len(pairs) or (len(names) > 1 and len(set(names.values())) == 1):
        return None
    return parse_names(names)


def align(labels: tuple[str, ...], *, classes: int | None, background: bool) -> tuple[str, ...]:
    """Return the list shifted so that it starts at class id 0.

    `classes` is the number of classes in the output, None where only the post-process operation knows it. That
    operation leaves out the background, so a placeholder at the start of the list is removed. `background`: class id 0
    is the background.
    """
    if classes is None:
        return labels[1:] if labels and labels[0] in PLACEHOLDERS else labels
    if not background and len(labels) == classes + 1 and (labels[0] in PLACEHOLDERS or labels[0] in HEADS):
        return labels[1:]       # a list that counts from 1, or a column with its head
    present = tuple(label for label in labels if label)
    if len(present) == classes != len(labels):      # the ids of an annotation file, with gaps; or blank lines between
        return present
    if background and len(labels) in {0, classes - 1}:
        return (BACKGROUND, *labels)
    return labels
