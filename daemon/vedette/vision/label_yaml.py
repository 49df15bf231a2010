"""Reads the list of labels in YAML, such as the data.yaml of a training.

Invariants: only the list under one of the usual keys is read, and nothing else of YAML: no tags, no references.
"""

from __future__ import annotations

import csv
import re
from itertools import takewhile

from vedette.vision.labels import LABELS_MAX, by_id, refusal

_YAML_LIST = re.compile(r"([ \t]*)(?:names|labels|classes|class_names|label_map|id2label)\s*:\s*"
                        r"((?<=\s)[^\s].*|[\[{].*)?")
_YAML_PAIR_LABEL_FIRST = re.compile(r"(.*\S)\s*:\s+(\d{1,6})")
_YAML_PAIR = re.compile(r"""["']?(\d{1,6})["']?\s*:\s+(.*)""")


def resembles_yaml(text: str) -> bool:
    """Whether a text is YAML, or has a list under one of the usual keys."""
    starts = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return bool(starts) and (starts[0].strip() == "---" or any(
        (found := _YAML_LIST.fullmatch(line.rstrip())) and (not found[2] or found[2][0] in "[{#&") for line in starts))


def of_yaml(text: str, where: str) -> tuple[str, ...]:
    """Return the list under `names:`: in brackets, in lines with a dash, or in lines with a number.

    Raises: ModelUnsupported, naming `where`.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    at = next((number for number, line in enumerate(lines) if _YAML_LIST.fullmatch(line)), None)
    start = None if at is None else _YAML_LIST.fullmatch(lines[at])
    if at is None or start is None:
        raise refusal(where, "YAML without `names:`")
    rest = re.sub(r"^[&#].*", "", (start[2] or "").strip()) or _bracketed(lines[at + 1:at + 2])
    if rest[:1] in {"[", "{"}:
        inside = " ".join([start[2] or "", *(line.strip() for line in lines[at + 1:])])
        inside = inside[inside.find(rest[0]) + 1:]
        inside = inside[:inside.find("]" if rest[0] == "[" else "}")].strip().removesuffix(",")
        if len(inside) > LABELS_MAX:
            raise refusal(where, f"YAML with a list of {len(inside):,} characters")
        entries = next(csv.reader([inside], skipinitialspace=True, quotechar=inside[:1] if inside[:1] == "'" else '"'),
                       [])
    else:
        indent = len(start[1])
        block = list(takewhile(lambda line: len(line) - len(line.lstrip()) > indent or (
            line.lstrip().startswith("-") and line.startswith(start[1])), lines[at + 1:]))
        dashes = sum(line.lstrip().startswith("- ") for line in block)
        if 0 < dashes < len(block):
            raise refusal(where, "YAML whose `names:` is a list of objects")
        entries = [line.strip().removeprefix("- ") for line in block]
    found = _of_entries([entry.strip() for entry in entries])
    if not found:
        raise refusal(where, "YAML whose `names:` is no list of labels")
    return found


def _bracketed(lines: list[str]) -> str:
    return next((line.strip() for line in lines if line.strip()[:1] in {"[", "{"}), "")


def _of_entries(entries: list[str]) -> tuple[str, ...] | None:
    for pattern, number, label in ((_YAML_PAIR, 1, 2), (_YAML_PAIR_LABEL_FIRST, 2, 1)):
        pairs = [pattern.fullmatch(entry) for entry in entries]
        if pairs and all(pairs):
            return by_id([(pair[number], _plain(pair[label])) for pair in pairs if pair])
        if number == 1 and any(pairs):
            return None
    return tuple(map(_plain, entries))


def _plain(scalar: str) -> str:
    """Return a YAML scalar without quotes and without a comment."""
    scalar = scalar.strip()
    if quoted := re.match(r"""(["'])(.*?)\1""", scalar):
        return quoted[2]
    return scalar.split(" #")[0].strip()
