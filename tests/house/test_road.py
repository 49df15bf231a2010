"""ARCHITECTURE.md and the decisions match the tree: the roads, the folders, the list of decisions."""

import ast
import re
from pathlib import Path

import pytest

from tests.house.test_floors import FLOORS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "vedette"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DECISIONS = ROOT / "docs" / "decisions"
PAGES = [ROOT / "ARCHITECTURE.md", *sorted(DECISIONS.glob("*.md"))]
PARTS = ["Context", "Options", "Choice", "Consequences"]

ROAD_FILES, ROAD_LINES = 30, 4500
FOLDERS, MODULES = 22, 8

PATH = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.py)`")
NAME = re.compile(r"`(\w+(?:\.\w+)*)`")


def section(title: str) -> str:
    """The text below a heading of ARCHITECTURE.md, up to the next heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"ARCHITECTURE.md has no section {title!r}"
    return found[1]


def road(title: str) -> list[str]:
    """The numbered files of a road, in their order."""
    steps = re.findall(r"^(\d+)\. `([^`]+)`: .+$", section(title), re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    return [path for _, path in steps]


def places_of(path: str) -> list[Path]:
    """Where a file of this name may be: in the package, or below the project's root."""
    return [place / path for place in (PACKAGE, ROOT) if (place / path).is_file()]


def folder_table() -> dict[str, str]:
    """The table of folders: name -> its sentence."""
    return dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", section("The folders"), re.MULTILINE))


def folders() -> set[str]:
    return {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_the_road_of_a_frame_reads_in_an_afternoon() -> None:
    """It has at most 30 files and 4,500 lines, each file once."""
    files = road("The frame's road")
    lines = sum(len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) for path in files)
    assert len(files) == len(set(files))
    assert len(files) <= ROAD_FILES
    assert lines <= ROAD_LINES


@pytest.mark.parametrize("title", ["The frame's road", "The model's road"])
def test_each_step_of_a_road_is_a_file_of_the_package(title: str) -> None:
    """A road that names a file that has moved leads nowhere."""
    assert [path for path in road(title) if not (PACKAGE / path).is_file()] == []


def test_the_table_of_folders_is_complete() -> None:
    """Each folder of the package is in it, and nothing else is."""
    assert set(folder_table()) == folders()


def test_a_folder_opens_with_its_sentence_of_the_table() -> None:
    """A folder's docstring is its sentence in the table."""
    opens = {name: (ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text("utf-8"))) or "")
             for name in folders()}
    assert {name: text.split("\n")[0] for name, text in opens.items()} == folder_table()


def test_the_table_of_floors_is_the_map_that_is_enforced() -> None:
    """A reader sees the floors as `FLOORS` has them."""
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section("Floors"), re.MULTILINE)
    shown = {room.rstrip("/"): int(floor) for floor, rooms in rows for room in re.findall(r"`([^`]+)`", rooms)}
    assert shown == FLOORS


def test_the_package_has_few_rooms() -> None:
    """At most 22 folders and 8 loose modules lie at its top, and each module is named in ARCHITECTURE.md."""
    modules = {path.name for path in PACKAGE.glob("*.py")}
    assert len(folders()) <= FOLDERS
    assert len(modules) <= MODULES
    assert {name for name in modules if f"`{name}`" not in section("The folders")} == set()


def test_searched_names_are_in_the_named_files() -> None:
    """Each name in "Where do I look for ..." is in one of the files named beside it."""
    items = re.split(r"^- ", section("Where do I look for ..."), flags=re.MULTILINE)[1:]
    missing = []
    for item in items:
        text = "\n".join(place.read_text(encoding="utf-8") for path in PATH.findall(item) for place in places_of(path))
        names = {name.rpartition(".")[2] for name in NAME.findall(item) if not name.endswith(".py")}
        missing += [f"{item[:40]}: {name}" for name in sorted(names) if not re.search(rf"\b{name}\b", text)]
    assert len(items) >= 5
    assert missing == []


def test_every_decision_is_in_the_list() -> None:
    """docs/decisions/README.md links each page once, and no other."""
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (DECISIONS / "README.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(page.name for page in DECISIONS.glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if page.stem != "README"], ids=lambda page: page.stem)
def test_a_decision_has_its_parts(page: Path) -> None:
    """Each has a title, a date, a list of options, a choice and what follows."""
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# .+\n\nDate: \d{4}-\d\d-\d\d", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    options = text.partition("## Options\n")[2].partition("## ")[0]
    assert len(re.findall(r"^- ", options, re.MULTILINE)) >= 2
