"""Label lists in the forms in which people have them: read, or refused by the name of the form."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.support.truth.decoder_references import model, spec
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported
from vedette.vision import label_files
from vedette.vision.documents import VALUES_MAX
from vedette.vision.labels import LABELS_MAX
from vedette.vision.model_spec import resolve

PETS = ("cat", "", "dog", "big bird")
"""Class 1 is missing."""

FORMS = {
    "numbers with gaps": "0  cat\n2  dog\n3  big bird\n",
    "numbers and colons": "0: cat\n2: dog\n3: big bird\n",
    "numbers and tabs, from Windows": "0\tcat\r\n2\tdog\r\n3\tbig bird\r\n",
    "numbers and dots": "0. cat\n2. dog\n3. big bird\n",
    "numbers, a comment and a bare number": "# my pets\n0 cat\n1\n2 dog\n3 big bird\n",
    "numbers and commas": "0,cat\n2,dog\n3,big bird\n",
    "label first, then its number": "cat,0\ndog,2\nbig bird,3\n",
    "CSV with a head": "id,name\n0,cat\n2,dog\n3,big bird\n",
    "CSV of three columns": "index;mid;display_name\n0;/m/01;cat\n2;/m/02;dog\n3;/m/03;big bird\n",
    "label map": 'item {\n  id: 0\n  name: "cat"\n}\nitem {\n id: 2 name: "dog" }\nitem { id: 3 name: \'big bird\' }\n',
    "label map with codes": 'item {\n name: "/m/1"\n id: 0\n display_name: "cat"\n}\n'
                            'item {\n name: "/m/2"\n id: 2\n display_name: "dog"\n}\n'
                            'item {\n name: "/m/3"\n id: 3\n display_name: "big bird"\n}\n',
    "data.yaml": "path: x\ntrain: images\nnames:\n  0: cat\n  2: dog  # the loud one\n  3: 'big bird'\nnc: 3\n",
    "data.yaml in one line": "nc: 4\nnames: {0: cat, 2: dog, 3: big bird}\n",
    "JSON by id": json.dumps({"0": "cat", "2": "dog", "3": "big bird"}),
    "JSON by label": json.dumps({"cat": 0, "dog": 2, "big bird": 3}),
    "a configuration of Hugging Face": json.dumps({"model_type": "yolos", "label2id": {"cat": 0},
                                                   "id2label": {"0": "cat", "2": "dog", "3": "big bird"}}),
    "COCO's categories": json.dumps({"images": [], "categories": [
        {"id": 0, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "big bird"}]}),
    "ImageNet's index": json.dumps({"0": ["n02", "cat"], "2": ["n03", "dog"], "3": ["n04", "big bird"]}),
    "a printed dict": "{0: 'cat', 2: 'dog', 3: 'big bird'}",
    "a printed dict without braces": "0: 'cat',\n2: 'dog',\n3: 'big bird',\n",
    "labels of a dict without braces": "'cat': 0,\n'dog': 2,\n'big bird': 3\n",
    "numbers and quotes": '0: "cat"\n2: "dog"\n3: "big bird"\n',
    "numbers in brackets": "[0] cat\n[2] dog\n[3] big bird\n",
    "numbers in round brackets": "(0) cat\n(2) dog\n(3) big bird\n",
    "numbers behind a hash": "#0 cat\n#2 dog\n#3 big bird\n",
    "numbers and arrows": "0 -> cat\n2 -> dog\n3 => big bird\n",
    "numbers with a decimal": "0.0 cat\n2.0 dog\n3.0 big bird\n",
    "numbers and WordNet": "0 n02123045 cat\n2 n02110958 dog\n3 n01503061 big bird\n",
    "WordNet and numbers": "n02123045 0 cat\nn02110958 2 dog\nn01503061 3 big bird\n",
    "label, bar, number": "cat|0\ndog|2\nbig bird|3\n",
    "dashes and numbers": "- 0: cat\n- 2: dog\n- 3: big bird\n",
    "YAML by label": "nc: 3\nclasses:\n  cat: 0\n  dog: 2\n  big bird: 3\n",
    "YAML with its list inside": "model:\n  nc: 3\n  names:\n    0: cat\n    2: dog\n    3: big bird\n  depth: 1\n",
    "JSON of pairs": '[[0, "cat"], [2, "dog"], [3, "big bird"]]',
    "JSON of pairs, label first": '[["cat", 0], ["dog", 2], ["big bird", 3]]',
    "JSON Lines": '{"id": 0, "name": "cat"}\n{"id": 2, "name": "dog"}\n{"id": 3, "name": "big bird"}\n',
    "label map with colons and commas": "item: {id: 0, name: 'cat'}\nitem: {id: 2, name: 'dog'}\n"
                                        "item: {id: 3, name: 'big bird'}\n",
}
THREE = ("cat", "dog", "big bird")
LISTS = {
    "one a line": "cat\ndog\nbig bird\n",
    "UTF-8 mark": "\ufeffcat\ndog\nbig bird\n",
    "JSON list": json.dumps(THREE),
    "JSON under a key": json.dumps({"version": 3, "labels": THREE}),
    "a signature of Lobe": json.dumps({"classes": {"Label": THREE}}),
    "JSON of objects": json.dumps([{"name": each, "color": "red"} for each in THREE]),
    "a printed list": "['cat', 'dog', 'big bird']",
    "one row": "cat,dog,big bird\n",
    "one row in quotes": '"cat", "dog", "big bird"\n',
    "YAML list": "nc: 3\nnames:\n- cat\n- dog\n- big bird\n",
    "YAML list in one line": "train: x\nnames: ['cat', 'dog', 'big bird']\n",
    "YAML list without quotes": "names: [cat, dog, big bird]  # three\n",
    "lines in quotes": '"cat",\n"dog",\n"big bird"\n',
    "WordNet": "n02123045 cat\nn02110958 dog\nn01503061 big bird\n",
    "CVAT": "# label:color_rgb:parts:actions\ncat:1,2,3::\ndog:4,5,6::\nbig bird:7,8,9::\n",
    "label, then the next number": "cat 0\ndog 1\nbig bird 2\n",
    "a comment first": "# my pets\ncat\ndog\n; the last one\nbig bird\n",
    "a comment behind each": "cat # 0\ndog # 1\nbig bird # 2\n",
    "the number of labels first": "3\ncat\ndog\nbig bird\n",
    "dashes": "- cat\n- dog\n- big bird\n",
    "stars": "* cat\n* dog\n* big bird\n",
    "YAML list in its own lines": 'names:\n  [\n    "cat",\n    "dog",\n    "big bird",\n  ]\n',
    "YAML list without a blank": "nc: 3\nnames:['cat','dog','big bird']\n",
    "YAML list with an anchor": "names: &pets\n  - cat\n  - dog\n  - big bird\n",
    "YAML list under another key": "class_names:\n  - cat\n  - dog\n  - big bird\n",
    "CSV with counts": "label,count\ncat,17\ndog,40\nbig bird,17\n",
    "CSV with colours": "cat,255,0,0\ndog,0,255,0\nbig bird,0,0,255\n",
    "CSV with colours and a head": "name,r,g,b\ncat,255,0,0\ndog,0,255,0\nbig bird,0,0,255\n",
    "CSV with codes": "/m/01yrx,cat\n/m/0bt9lr,dog\n/m/015p6,big bird\n",
    "a comma behind each": "cat,\ndog,\nbig bird\n",
    "CSV with one column of labels": "name,color\ncat,red\ndog,blue\nbig bird,yellow\n",
}
REFUSED = {
    "XML or HTML": "<!DOCTYPE html>\n<html></html>\n",
    "XML or HTML ": '<?xml version="1.0"?>\n<annotation/>\n',
    "source code": '#include <stdint.h>\nconst char *labels[] = {"cat"};\n',
    "source code ": "NAMES = ['cat', 'dog']\n",
    "JSON without a list of labels": '{"version": 3, "rows": 7}',
    "JSON without a list of labels ": "[1, [2, {}]]",
    "YAML without `names:`": "---\npath: x\ntrain: images\n",
    "YAML whose `names:`": "nc: 2\nnames:\ntrain: x\n",
    "a label map with": "item {\n id: 1\n}\n",
    "settings": "classes = 80\nnames = data/obj.names\n",
    "most lines begin with a number": "0 cat\n1 dog\n2 bird\nhorse\n",
    "protobuf text": "entries {\n  name: 'cat'\n}\n",
    "Rich Text": "{\\rtf1\\ansi cat}\n",
    "not text": "cat\0dog",
    "not text ": "cat\x1b[0m\ndog\n",
    "a class id that comes twice": "0 cat\n0 dog\n",
    "a class id that comes twice ": "255 0 0 cat\n0 255 0 dog\n0 0 255 bird\n",
    "the annotations of a picture": "17 0.5 0.5 0.2 0.3\n0 0.1 0.1 0.2 0.2\n",
    "CSV with the annotations": "filename,class,xmin\na.jpg,cat,3\nb.jpg,dog,4\n",
    "CSV whose numbers": "cat,17\ndog,17\n",
    "file names": "images/a.jpg\nimages/b.jpg\n",
    "file names ": "C:\\pets\\cat\nC:\\pets\\dog\n",
    "a Markdown table": "| id | name |\n|---|---|\n| 0 | cat |\n",
    "prose": "Pets\n\nThis model detects the pets of a house.\n",
    "prose ": "Apache License\nVersion 2.0\nhttp://www.apache.org/licenses/\n",
    "YAML with a list of objects": "- id: 0\n  name: cat\n- id: 1\n  name: dog\n",
    "YAML whose `names:` is a list of objects": "names:\n- id: 0\n  name: cat\n",
    "an item that cannot be read": "item {\n id: 1\n name: 'cat'\n keypoints { id: 1 }\n}\nitem {\n id: 2\n",
    "settings ": "width=416\nheight=320\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_with_numbers(form: str) -> None:
    """The number is the class id, whatever stands around it; a missing one has an empty label."""
    assert label_files.parse(FORMS[form], "x") == PETS


@pytest.mark.parametrize("form", LISTS)
def test_forms_without_numbers(form: str) -> None:
    """The place in the list is the class id."""
    assert label_files.parse(LISTS[form], "x") == THREE


@pytest.mark.parametrize("form", REFUSED)
def test_forms_that_are_refused_by_name(form: str) -> None:
    """No line of another kind of file becomes a label: the error names the kind and what was expected."""
    with pytest.raises(ModelUnsupported, match=f"^here: .*{form.strip()}.*; expected one label a line"):
        label_files.parse(REFUSED[form], "here")


@pytest.mark.parametrize("text", ["17  dog\n", "17\tdog\n", "17: dog\n", "17,dog\n"])
def test_one_line_with_a_number(text: str) -> None:
    """The number of a list of one class is its id."""
    assert label_files.parse(text, "x") == (*("",) * 17, "dog")


@pytest.mark.parametrize("lines", [
    ("tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark, white shark, man-eater"),
    ("0", "1", "2"), ("5 euro", "10 euro", "20 euro"), ("boeing 737", "airbus 320"), ("class 1", "class 2"),
    ("person", "", "car"), ("3 of clubs", "queen of hearts", "king"), ("traffic light: red", "traffic light: green"),
    ("7 up",), ("names", "labels", "classes"),
    ("zone 1", "zone 2", "dock 3"), ("C# code", "C++ code"), ("St. Bernard", "Dr. Who"), ("read/write", "on/off")])
def test_labels_that_only_look_like_another_form(lines: tuple[str, ...]) -> None:
    """Numbers, commas and colons inside labels stay."""
    assert label_files.parse("\n".join(lines) + "\n", "x") == lines


def test_a_file_of_windows(tmp_path: Path) -> None:
    """PowerShell writes UTF-16 with its mark."""
    path = tmp_path / "labels.txt"
    path.write_text("0 cat\n1 dog\n", encoding="utf-16")
    assert label_files.read_file(path) == ("cat", "dog")


@pytest.mark.parametrize("text", [
    "a" * 2**19 + "\n" + "b,1\n" * 9, "x " * 2**18, "item {" * 2**17, "names: [" + "a," * 2**18, '"' * 2**19,
    "[" * 2**18, "0 a\n" * 2**17, f"{LABELS_MAX * 9} cat\n0 dog\n", "names:\n" + "- a\n" * 2**17])
def test_hostile_texts_are_cheap(text: str) -> None:
    """A text of any kind gives labels or a refusal, in a moment."""
    with contextlib.suppress(ModelUnsupported):
        assert label_files.decode(text.encode(), "here")


def test_a_dict_that_is_too_long_is_refused_by_its_file() -> None:
    """The message says which file it is, also where the dict has no braces."""
    with pytest.raises(ModelUnsupported, match=r"^here: [\d,]+ bytes with about"):
        label_files.parse("0: '" + "," * VALUES_MAX + "',\n1: 'b',", "here")


def test_a_numbered_file_in_the_model_and_in_the_configuration(tmp_path: Path) -> None:
    """Both places read the same forms, and an SSD's map that counts from 1 fits."""
    head = spec((1, 6, 84))
    inside = resolve(model(head, attachments={"labels.txt": b"0  cat\n1  dog\n"}), DetectorConfig())
    assert inside.labels == ("cat", "dog")
    items = b'item { id: 1 name: "cat" } item { id: 2 name: "dog" }'
    mapped = resolve(model(head, attachments={"labelmap.pbtxt": items}), DetectorConfig())
    assert mapped.labels == ("cat", "dog")
    path = tmp_path / "map.json"
    path.write_text('{"1": "cat", "2": "dog"}')
    assert resolve(model(head), DetectorConfig(labels_file=path)).labels == ("cat", "dog")
    with pytest.raises(ModelUnsupported, match=r"labels\.txt: source code"):
        resolve(model(head, attachments={"labels.txt": b"import numpy\n"}), DetectorConfig())
