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
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnsupported
from vedette.vision.documents import check_size, parse_value
from vedette.vision.label_yaml import of_yaml, resembles_yaml
from vedette.vision.labels import LABELS_MAX, by_id, checked, parse_lines, parse_names, refusal

FILE_BYTES_MAX = 2**20

_LIST_KEYS = ("Labels", "names", "labels", "classes", "class_names", "categories", "id2label", "Label", "label",
              "label_map", "class_indices", "label2id")
_NAME_KEYS = ("display_name", "displayname", "name", "label", "title", "class_name", "classname", "class", "category")
_ID_KEYS = ("id", "class_id", "classid", "index", "idx", "label_id")
_DEPTH_MAX = 4
LINE_LENGTH_MAX = 4096
_COLOURS = 3
_OF_PICTURES = frozenset({"filename", "file_name", "image", "image_id", "xmin", "x_min", "xmax"})
_ITEM_START = re.compile(r"\bitem\s*:?\s*\{")
_ITEM = re.compile(r"""\bitem\s*:?\s*\{((?:"[^"\n]*"|'[^'\n]*'|[^{}"'])*)\}""")
_FIELD = re.compile(r"""(\w+)\s*:\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"',]+)""")
_NUMBER_FIRST = re.compile(r"[\[(#]?(\d{1,6})(?:\.0+)?(?:\s*(?:[-=]>|[:,;=)\]|-]|\.(?!\d))\s*|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)\s*[:,;=\t|]\s*(\d{1,6})")
_NUMBER_BEHIND = re.compile(r"(.*\S)\s+(\d{1,6})")
_BRACKETED = re.compile(r"\[\d{1,6}\]\s*[^\s,\]]")
_WORDNET = re.compile(r"n\d{8}\s+(?P<label>\S.*)")
_CODE = re.compile(r"/[mgt]/\w+|n\d{8}")
_BULLET = re.compile(r"[-*]\s+(?P<label>\S.*)")
_COMMENT = re.compile(r"(?:#(?!\d)|;\s)")
_TRAILING_COMMENT = re.compile(r"(?P<label>.*\S)\s+#\s.*")
_QUOTED = re.compile(r"""(["'])(?P<label>.*)\1,?""")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1b\x7f]")
_SENTENCE = re.compile(r"^[A-Z]\S*\s+(?:\S+\s+){2,64}\S*[A-Za-z)]\.$|https?://")
_KEY = re.compile(r"\w+:(?:\s|$)")
_SETTING = re.compile(r"[A-Za-z_][\w.]*\s*=\s*\S.*")
_FOREIGN = (
    (re.compile(r"<(?:[?!]|\w+[\s>])"), "XML or HTML"),
    (re.compile(r"\{\\rtf"), "Rich Text"),
    (re.compile(r"\|"), "a Markdown table"),
    (re.compile(r"\d+(?:\s+-?\d*\.\d+){4}"), "the annotations of a picture"),
    (re.compile(r".*\.(?:jpe?g|png|bmp|tiff?|webp|mp4|txt|xml)$|[A-Za-z]:\\", re.IGNORECASE), "file names"),
    (re.compile(r"#\s*(?:include|pragma|ifndef)\b|//|/\*|(?:import|from)\s+\w+[\w.]*(?:\s+import\b|\s*$|\s*;)|"
                r"(?:static|const|constexpr|let|var|def)\s+\w|[A-Za-z_][\w.]*\s*=\s*[\[({]"), "source code"),
    (re.compile(r"\w+\s*\{\s*$"), "protobuf text without `item`"))


def read_file(path: Path) -> tuple[str, ...]:
    """Read a label file. Raises: ModelUnsupported when it cannot be read or has no label."""
    where = f"labels file {path}"
    try:
        return decode(read_whole(path, FILE_BYTES_MAX), where)
    except OSError as error:
        raise refusal(where, str(error.strerror)) from error


def decode(content: bytes, where: str) -> tuple[str, ...]:
    """Return the labels of a file's bytes. Raises: ModelUnsupported, naming `where`; also without any label."""
    if len(content) > FILE_BYTES_MAX:
        raise ModelUnsupported(f"{where}: {len(content):,} bytes; expected at most {FILE_BYTES_MAX:,}")
    wide = content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}     # what Windows writes
    try:
        found = parse(content.decode("utf-16" if wide else "utf-8"), where)
    except UnicodeDecodeError as error:
        raise refusal(where, "not UTF-8 text") from error
    if not any(found):
        raise refusal(where, "empty")
    return checked(found, where)


def parse(text: str, where: str) -> tuple[str, ...]:
    """Return the labels of a text. Raises: ModelUnsupported, naming `where` and the form that cannot be read."""
    text = text.removeprefix("\ufeff")
    lines = [line.strip() for line in text.splitlines()]
    first = next((line for line in lines if line), "")
    if _CONTROL.search(text):
        raise refusal(where, "not text")
    if first[:1] in {"{", "["} and not first.startswith("{\\rtf") and not _BRACKETED.match(first):
        return _of_document(text, where)
    if _ITEM_START.search(text):
        return _of_label_map(text, where)
    if first.startswith("# label:"):        # CVAT: label:colour:parts:actions
        return tuple(line.split(":")[0] for line in lines if line and not line.startswith("#"))
    for pattern, form in _FOREIGN:
        if pattern.match(first):
            raise refusal(where, form)
    if resembles_yaml(text):
        return of_yaml(text, where)
    return _of_text(lines, where)


def _of_text(lines: list[str], where: str) -> tuple[str, ...]:
    """Return the labels of lines that have no syntax around them all."""
    lines = [line for line in lines if not _COMMENT.match(line)]
    filled = [line for line in lines if line]
    if len(filled) > LABELS_MAX:
        return checked(tuple(filled), where)
    if bare := _without(_TRAILING_COMMENT, filled):
        lines = filled = bare
    if form := _foreign_form(filled):
        raise refusal(where, form)
    return (_of_pairs(filled, where) or _of_table(filled, where) or _of_numbered(filled, where)
            or _of_lines(filled, where) or parse_lines("\n".join(lines)))


def _foreign_form(lines: list[str]) -> str | None:
    """Return what these lines are, if they are no labels."""
    if any(map(_SENTENCE.search, lines)):
        return "prose"
    if len(lines) > 1 and all(map(_SETTING.fullmatch, lines)):
        ids = [int(each[2]) for line in lines if (each := _NUMBER_LAST.fullmatch(line))]
        if len(ids) < len(lines) or min(ids) > 1:
            return "settings (key = value)"
    bullets = sum(map(bool, map(_BULLET.fullmatch, lines)))
    if 0 < bullets < len(lines) and all(_BULLET.fullmatch(line) or _KEY.match(line) for line in lines):
        return "YAML with a list of objects"
    return None


def _of_document(text: str, where: str) -> tuple[str, ...]:
    check_size(text.encode(), where)
    value = parse_value(text)
    if value is None:       # JSON Lines
        value = [each for line in text.splitlines() if line.strip() and (each := parse_value(line)) is not None]
        value = value if len(value) == sum(1 for line in text.splitlines() if line.strip()) else None
    found = _of_value(value, _DEPTH_MAX)
    if not found:
        raise refusal(where, "JSON without a list of labels")
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


def _of_pairs(lines: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of a dict without its braces, one pair a line; None for other text."""
    if not lines or not all(line.endswith(",") for line in lines[:-1]) or not re.match(r"""(?:["'].*["']|\d+)\s*:""",
                                                                                    lines[0]):
        return None
    text = "{" + "\n".join(lines).removesuffix(",") + "}"
    check_size(text.encode(), where)
    return _of_value(parse_value(text), _DEPTH_MAX)


def _of_list(values: list[object]) -> tuple[str, ...] | None:
    if all(isinstance(each, list) and len(each) == 2 and sum(map(_is_number, each)) == 1 for each in values):
        pairs = [each if _is_number(each[0]) else each[::-1] for each in values if isinstance(each, list)]
        return by_id([(str(number), str(name)) for number, name in pairs])
    names = [_name_of(each) for each in values]
    if None in names:
        return None
    entries = [each for each in values if isinstance(each, Mapping)]
    ids = [next((str(each[key]) for key in _ID_KEYS if key in each), "") for each in entries]
    if ids and all(ids):
        return by_id(list(zip(ids, map(str, names), strict=True)))
    return tuple(map(str, names))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _name_of(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _NAME_KEYS if key in value), None)
    if isinstance(value, list) and value:       # ImageNet's index: its own name, then the label
        value = value[-1]
    return str(value).strip() if isinstance(value, (str, int, float)) else None


def _of_label_map(text: str, where: str) -> tuple[str, ...]:
    pairs: list[tuple[str, str]] = []
    if len(_ITEM_START.findall(text)) != len(_ITEM.findall(text)):
        raise refusal(where, "a label map with an item that cannot be read")
    for item in islice(_ITEM.finditer(text), LABELS_MAX + 1):
        fields = {name: value.strip("\"'") for name, value in _FIELD.findall(item[1])}
        name = next((fields[key] for key in _NAME_KEYS if key in fields), None)
        if name is None or not fields.get("id", "").isdigit():
            raise refusal(where, "a label map with an item without id or name")
        pairs.append((fields["id"], name))
    found = parse_names(dict(pairs)) if len(dict(pairs)) == len(pairs) else None
    if found is None:
        raise refusal(where, "a label map with an id twice, or with an impossible id")
    return found


def _of_table(lines: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of CSV: one row of labels, or a column of ids and a column of labels; None for other text."""
    if not lines or (len(lines) > 1 and max(map(len, lines)) > LINE_LENGTH_MAX):
        return None
    separator = next((each for each in (",", ";", "\t", "|") if each in lines[0]), None)
    if separator is None:
        return None
    if closed := all(line.endswith(separator) for line in lines[:-1] or lines):
        lines = [line.removesuffix(separator) for line in lines]
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    except csv.Error:       # a cell of more than 128 kB
        return None
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        return None
    if width == 1:
        return tuple(row[0] for row in rows) if closed else None
    if len(rows) == 1:
        return tuple(rows[0]) if len(rows[0]) > 2 and not rows[0][0].isdigit() else None
    head = [cell.lower() for cell in rows[0]]
    if _OF_PICTURES & set(head):
        raise refusal(where, "CSV with the annotations of pictures")
    titled = bool({*_NAME_KEYS, *_ID_KEYS} & set(head)) and not any(cell.isdigit() for cell in rows[0])
    return _of_columns(list(zip(*(rows[1:] if titled else rows), strict=True)), head if titled else [], where)


def _of_columns(columns: list[tuple[str, ...]], head: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of columns, which `head` names where the table has one."""
    numbers = [at for at, column in enumerate(columns) if all(cell.isdigit() for cell in column)]
    names = [at for at, column in enumerate(columns) if at not in numbers and not all(map(_CODE.fullmatch, column))]
    if not columns[0] or not names or not (numbers or head or len(names) < len(columns)):
        return None
    wanted = columns[next((head.index(key) for key in _NAME_KEYS if key in head), names[0])]
    ids = [at for at in numbers if (head[at] in {"", *_ID_KEYS} if head else _counts(columns[at]))]
    if ids:
        return by_id(list(zip(columns[ids[0]], wanted, strict=True)))
    if not head and 0 < len(numbers) < _COLOURS:
        raise refusal(where, "CSV whose numbers are no class ids")
    return wanted


def _counts(column: tuple[str, ...]) -> bool:
    return len(set(column)) == len(column) and min(map(int, column)) in {0, 1}


def _of_numbered(lines: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of lines that begin or end with their class id; None for other text."""
    if max(map(len, lines), default=0) > LINE_LENGTH_MAX:
        return None
    last = [_NUMBER_LAST.fullmatch(line) for line in lines]
    if len(lines) > 1 and all(last) and (found := by_id([(each[2], each[1]) for each in last if each])):
        return found
    behind = [each for line in lines if (each := _NUMBER_BEHIND.fullmatch(line))]
    if len(behind) == len(lines) > 1 and [int(each[2]) for each in behind] == [*range(len(lines))] and len(
            {each[1] for each in behind}) == len(lines):
        return tuple(each[1] for each in behind)
    first = [_NUMBER_FIRST.fullmatch(line) for line in lines]
    pairs = [(each[1], each[2]) for each in first if each]
    for mark in (_QUOTED, _WORDNET):
        if inner := _without(mark, [label for _, label in pairs]):
            pairs = [(number, label) for (number, _), label in zip(pairs, inner, strict=True)]
    found = by_id(pairs) if pairs else None
    if found is None and len(pairs) == len(lines) > len(dict(pairs)) and "0" in dict(pairs):
        raise refusal(where, "a class id that comes twice")
    if found is None or (len(pairs) == len(lines) == 1 and pairs[0][0] not in {"0", "1"}
                         and not re.match(r"\d+(?:\s\s|\s*[:,;=\t])", lines[0])):
        return None
    odd = next((line for line, each in zip(lines, first, strict=True) if not each and not line.isdigit()), None)
    if odd is None:
        return found
    if len(pairs) * 2 > len(lines):
        raise refusal(where, f"most lines begin with a number, but {odd[:40]!r} does not")
    return None


def _of_lines(lines: list[str], where: str) -> tuple[str, ...] | None:
    """Return the labels of lines that all have the same mark around the label; None where they have none."""
    if len(lines) > 1 and lines[0] == str(len(lines) - 1) and not lines[1].isdigit():
        return _of_lines(lines[1:], where) or tuple(lines[1:])      # the number of labels comes first
    for pattern in (_BULLET, _WORDNET):
        if inner := _without(pattern, lines):
            return _of_numbered(inner, where) or tuple(_without(_QUOTED, inner) or inner)
    quoted = _without(_QUOTED, lines)
    return tuple(quoted) if quoted else None


def _without(mark: re.Pattern[str], lines: list[str]) -> list[str] | None:
    """Return what a mark leaves of each line; None where a line does not have it."""
    found = [mark.fullmatch(line) for line in lines]
    return [each["label"] for each in found if each] if lines and all(found) else None
