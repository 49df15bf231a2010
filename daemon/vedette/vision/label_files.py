"""Reads a label list in the forms in which people have it.

The forms are one label a line, numbers before or behind the labels, JSON, YAML, CSV, label maps of TensorFlow and CVAT.

Invariants: nothing is evaluated. The text alone shows its form, and a form that is known but cannot be read is refused
by its name, so that no line of it becomes a label. A number that stands before or behind every label is its class id;
an id that is missing has an empty label, which is never detected. The work grows with the length of the text only.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnsupported
from vedette.vision.documents import check_size, parse_value
from vedette.vision.labels import LABELS_MAX, checked, parse_lines, parse_names

FILE_BYTES_MAX = 2**20

EXPECTED = ("expected one label a line, a number and a label a line, JSON, YAML with `names:`, CSV, or a .pbtxt label "
            "map")
_LIST_KEYS = ("names", "labels", "classes", "class_names", "categories", "id2label", "Label", "label", "label_map",
              "class_indices", "label2id")
_NAME_KEYS = ("display_name", "displayname", "name", "label", "title", "class_name", "classname", "class", "category")
_ID_KEYS = ("id", "class_id", "classid", "index", "idx", "label_id")
_DEPTH_MAX = 4
LINE_LENGTH_MAX = 4096
_ITEM = re.compile(r"\bitem\s*\{([^{}]*)\}")
_FIELD = re.compile(r"""(\w+)\s*:\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"']+)""")
_NUMBER_FIRST = re.compile(r"(\d{1,6})(?:\s*[:,;=.)\]|-]\s*|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)\s*[:,;=\t]\s*(\d{1,6})")
_WORDNET = re.compile(r"n\d{8}\s+(\S.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1,?""")
_YAML_LIST = re.compile(r"(?:names|labels|classes)\s*:(?:\s+(.*))?")
_YAML_PAIR = re.compile(r"""["']?(\d{1,6})["']?\s*:\s+(.*)""")
_SETTING = re.compile(r"[A-Za-z_][\w.]*\s*=\s*\S.*")
_FOREIGN = (
    (re.compile(r"<(?:[?!]|\w+[\s>])"), "XML or HTML"),
    (re.compile(r"\{\\rtf"), "Rich Text"),
    (re.compile(r"#\s*(?:include|pragma|ifndef)\b|//|/\*|(?:import|from)\s+\w+[\w.]*(?:\s+import\b|\s*$|\s*;)|"
                r"(?:static|const|constexpr|let|var|def)\s+\w|[A-Za-z_]\w*\s*=\s*[\[({]"), "source code"),
    (re.compile(r"\w+\s*\{\s*$"), "protobuf text without `item`"))


def read_file(path: Path) -> tuple[str, ...]:
    """Read a label file. Raises: ModelUnsupported when it cannot be read or has no label."""
    where = f"labels file {path}"
    try:
        return decode(read_whole(path, FILE_BYTES_MAX), where)
    except OSError as error:
        raise _refusal(where, str(error.strerror)) from error


def decode(content: bytes, where: str) -> tuple[str, ...]:
    """Return the labels of a file's bytes. Raises: ModelUnsupported, naming `where`; also without any label."""
    if len(content) > FILE_BYTES_MAX:
        raise ModelUnsupported(f"{where}: {len(content):,} bytes; expected at most {FILE_BYTES_MAX:,}")
    wide = content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}     # what Windows writes
    try:
        found = parse(content.decode("utf-16" if wide else "utf-8"), where)
    except UnicodeDecodeError as error:
        raise _refusal(where, "not UTF-8 text") from error
    if not any(found):
        raise _refusal(where, "empty")
    return checked(found, where)


def parse(text: str, where: str) -> tuple[str, ...]:
    """Return the labels of a text. Raises: ModelUnsupported, naming `where` and the form that cannot be read."""
    text = text.removeprefix("\ufeff")
    lines = [line.strip() for line in text.splitlines()]
    first = next((line for line in lines if line), "")
    if "\0" in text:
        raise _refusal(where, "not text")
    if first[:1] in {"{", "["} and not first.startswith("{\\rtf"):
        return _of_document(text, where)
    if _ITEM.search(text):
        return _of_label_map(text, where)
    if first.startswith("# label:"):        # CVAT: label:colour:parts:actions
        return tuple(line.split(":")[0] for line in lines if line and not line.startswith("#"))
    for pattern, form in _FOREIGN:
        if pattern.match(first):
            raise _refusal(where, form)
    if _resembles_yaml(text):
        return _of_yaml(text, where)
    filled = [line for line in lines if line]
    if len(filled) > 1 and all(map(_SETTING.fullmatch, filled)):
        raise _refusal(where, "settings (key = value)")
    if len(filled) > LABELS_MAX:
        return checked(tuple(filled), where)
    return _of_table(filled) or _of_numbered(filled, where) or _of_lines(text, filled)


def _refusal(where: str, form: str) -> ModelUnsupported:
    return ModelUnsupported(f"{where}: {form}; {EXPECTED}")


def _by_id(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return the labels of pairs of id and label; None where an id comes twice, or where all labels are one word."""
    names = dict(pairs)
    if len(names) < len(pairs) or (len(names) > 1 and len(set(names.values())) == 1):
        return None
    return parse_names(names)


def _of_document(text: str, where: str) -> tuple[str, ...]:
    check_size(text.encode(), where)
    found = _of_value(parse_value(text), _DEPTH_MAX)
    if not found:
        raise _refusal(where, "JSON without a list of labels")
    return found


def _of_value(value: object, depth: int) -> tuple[str, ...] | None:
    """Return the labels in a JSON value: a list, a mapping by id or by label, or one of these under a usual key."""
    if depth == 0 or not value:
        return None
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, Mapping):
        return None
    for key in _LIST_KEYS:
        if key in value and isinstance(value[key], (list, dict)):
            return _of_value(value[key], depth - 1)
    if all(isinstance(each, int) and not isinstance(each, bool) for each in value.values()):
        by_id = {each: label for label, each in value.items()}
        is_list = len(by_id) == len(value) and min(by_id) in {0, 1} and max(by_id) <= 2 * len(value)
        return parse_names(by_id) if is_list else None
    return parse_names({key: _name_of(each) or "" for key, each in value.items()})


def _of_list(values: list[object]) -> tuple[str, ...] | None:
    names = [_name_of(each) for each in values]
    if None in names:
        return None
    entries = [each for each in values if isinstance(each, Mapping)]
    ids = [next((str(each[key]) for key in _ID_KEYS if key in each), "") for each in entries]
    if ids and all(ids):
        return _by_id(list(zip(ids, map(str, names), strict=True)))
    return tuple(map(str, names))


def _name_of(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _NAME_KEYS if key in value), None)
    if isinstance(value, list) and value:       # ImageNet's index: its own name, then the label
        value = value[-1]
    return str(value).strip() if isinstance(value, (str, int, float)) else None


def _of_label_map(text: str, where: str) -> tuple[str, ...]:
    pairs = []
    for item in islice(_ITEM.finditer(text), LABELS_MAX + 1):
        fields = {name: value.strip("\"'") for name, value in _FIELD.findall(item[1])}
        name = next((fields[key] for key in _NAME_KEYS if key in fields), None)
        if name is None or not fields.get("id", "").isdigit():
            raise _refusal(where, "a label map with an item without id or name")
        pairs.append((fields["id"], name))
    found = parse_names(dict(pairs)) if len(dict(pairs)) == len(pairs) else None
    if found is None:
        raise _refusal(where, "a label map with an id twice, or with an impossible id")
    return found


def _resembles_yaml(text: str) -> bool:
    starts = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return bool(starts) and (starts[0].strip() == "---" or any(
        (found := _YAML_LIST.fullmatch(line.rstrip())) and (not found[1] or found[1][0] in "[{#") for line in starts))


def _of_yaml(text: str, where: str) -> tuple[str, ...]:
    """Return the list under `names:`: in brackets, in lines with a dash, or in lines with a number."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    at = next((number for number, line in enumerate(lines) if _YAML_LIST.fullmatch(line.rstrip())), None)
    if at is None:
        raise _refusal(where, "YAML without `names:`")
    start = _YAML_LIST.fullmatch(lines[at].rstrip())
    rest = (start[1] or "").strip() if start else ""
    if rest[:1] in {"[", "{"}:
        inside = " ".join([rest, *(line.strip() for line in lines[at + 1:])])[1:]
        inside = inside[:inside.find("]" if rest[0] == "[" else "}")]
        if len(inside) > LABELS_MAX:
            raise _refusal(where, f"YAML with a list of {len(inside):,} characters")
        entries = next(csv.reader([inside], skipinitialspace=True, quotechar="'" if "'" in inside else '"'), [])
    else:
        entries = []
        for line in lines[at + 1:]:
            if not line.startswith((" ", "\t", "-")):
                break
            entries.append(line.strip().removeprefix("- "))
    pairs = [_YAML_PAIR.fullmatch(entry.strip()) for entry in entries]
    if pairs and all(pairs):
        found = _by_id([(pair[1], _plain(pair[2])) for pair in pairs if pair])
    else:
        found = None if any(pairs) else tuple(map(_plain, entries))
    if not found:
        raise _refusal(where, "YAML whose `names:` is no list of labels")
    return found


def _plain(scalar: str) -> str:
    """Return a YAML scalar without quotes and without a comment."""
    scalar = scalar.strip()
    if quoted := re.match(r"""(["'])(.*?)\1""", scalar):
        return quoted[2]
    return scalar.split(" #")[0].strip()


def _of_table(lines: list[str]) -> tuple[str, ...] | None:
    """Return the labels of CSV: one row of labels, or a column of ids and a column of labels; None for other text."""
    if not lines or (len(lines) > 1 and max(map(len, lines)) > LINE_LENGTH_MAX):
        return None
    separator = next((each for each in (",", ";", "\t") if each in lines[0]), None)
    if separator is None:
        return None
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    except csv.Error:       # a cell of more than 128 kB
        return None
    if len(rows) == 1:
        return tuple(rows[0]) if len(rows[0]) > 2 and not rows[0][0].isdigit() else None
    width = len(rows[0])
    if width < 2 or any(len(row) != width for row in rows):
        return None
    head = [cell.lower() for cell in rows[0]]
    titled = bool({*_NAME_KEYS, *_ID_KEYS} & set(head)) and not any(cell.isdigit() for cell in rows[0])
    body = rows[1:] if titled else rows
    columns = list(zip(*body, strict=True))
    ids = [number for number, column in enumerate(columns) if all(cell.isdigit() for cell in column)]
    names = [number for number in range(width) if number not in ids]
    if not names or not (ids or titled):
        return None
    wanted = next((head.index(key) for key in _NAME_KEYS if titled and key in head), names[0])
    return _by_id(list(zip(columns[ids[0]], columns[wanted], strict=True))) if ids else columns[wanted]


def _of_numbered(lines: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of lines that begin or end with their class id; None for other text."""
    lines = [line for line in lines if not line.startswith("#")]
    if max(map(len, lines), default=0) > LINE_LENGTH_MAX:
        return None
    last = [_NUMBER_LAST.fullmatch(line) for line in lines]
    if len(lines) > 1 and all(last) and (found := _by_id([(each[2], each[1]) for each in last if each])):
        return found
    first = [_NUMBER_FIRST.fullmatch(line) for line in lines]
    pairs = [(each[1], each[2]) for each in first if each]
    found = _by_id(pairs) if pairs else None
    if found is None or (len(pairs) == len(lines) == 1 and pairs[0][0] not in {"0", "1"}):
        return None
    odd = next((line for line, each in zip(lines, first, strict=True) if not each and not line.isdigit()), None)
    if odd is None:
        return found
    if len(pairs) * 2 > len(lines):
        raise _refusal(where, f"most lines begin with a number, but {odd[:40]!r} does not")
    return None


def _of_lines(text: str, lines: list[str]) -> tuple[str, ...]:
    for pattern, group in ((_WORDNET, 1), (_QUOTED, 2)):
        found = [pattern.fullmatch(line) for line in lines]
        if lines and all(found):
            return tuple(each[group] for each in found if each)
    return parse_lines(text)
