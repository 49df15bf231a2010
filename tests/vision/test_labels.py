"""Label lists and their alignment with class ids."""

from pathlib import Path

import pytest

from vedette.errors import ModelUnsupported
from vedette.vision import label_files, labels


def test_an_id_beyond_the_list_has_a_name() -> None:
    """A class id beyond the labels gets a name made of its number."""
    assert labels.label_of(("cat",), 0) == "cat"
    assert labels.label_of(("cat",), 7) == "class_7"
    assert labels.label_of(("cat",), 1) == "class_1"


def test_lines() -> None:
    """Empty lines inside keep their place; a byte order mark, spaces and empty lines at the end do not count."""
    assert labels.parse_lines("\ufeffcat \r\n\n dog\n\n") == ("cat", "", "dog")


@pytest.mark.parametrize(("names", "expected"), [
    ({0: "cat", 2: "dog"}, ("cat", "", "dog")), ({"1": "dog", "0": "cat"}, ("cat", "dog")), (["cat"], ("cat",)),
    ({"x": "cat"}, None), ({-1: "cat"}, None), ({10**9: "cat"}, None), ({}, None), ("cat", None), (None, None)])
def test_names_of_an_export(names: object, expected: tuple[str, ...] | None) -> None:
    """Ultralytics writes a mapping from class id to label, in JSON with strings for ids."""
    assert labels.parse_names(names) == expected


@pytest.mark.parametrize(("given", "seen"), [(("a",) * (labels.LABELS_MAX + 1), "100,001 labels"),
                                             (("a" * 257,), "257 characters")])
def test_a_list_that_is_too_large_is_refused(given: tuple[str, ...], seen: str) -> None:
    """The error says where the list stands."""
    with pytest.raises(ModelUnsupported, match=f"here: .*{seen}"):
        labels.checked(given, "here")


@pytest.mark.parametrize(("given", "classes", "background", "expected"), [
    (("???", "cat"), None, False, ("cat",)),                # TensorFlow's own label maps, offset by one
    (("cat", "???"), None, False, ("cat", "???")),
    (("cat",), 2, True, ("background", "cat")),             # a list without the background
    (("background", "cat"), 2, True, ("background", "cat")),
    (("", "cat", "dog"), 2, False, ("cat", "dog")),         # a list that counts from 1
    (("", "cat", "", "", "dog"), 2, False, ("cat", "dog")),     # the ids of an annotation file, with gaps
    (("cat", "", "dog", "", "cow"), 3, False, ("cat", "dog", "cow")),                   # blank lines between
    (("cat", "", "dog"), 3, False, ("cat", "", "dog")),
    (("name", "cat", "dog"), 2, False, ("cat", "dog")),     # a column with its head
    (("__background__", "cat"), 1, False, ("cat",)),
    ((), 2, True, ("background",)),                         # no labels: the background is known all the same
    (("cat", "dog"), 2, False, ("cat", "dog"))])
def test_alignment(given: tuple[str, ...], classes: int | None, background: bool, expected: tuple[str, ...]) -> None:
    """A list is shifted until its first entry is class id 0."""
    assert labels.align(given, classes=classes, background=background) == expected


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00"])
def test_unusable_label_files(tmp_path: Path, content: bytes | None) -> None:
    """A label file that is missing, empty or not text is refused; the error names it."""
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelUnsupported, match=r"labels\.txt"):
        label_files.read_file(path)
