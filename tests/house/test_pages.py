"""Everything that a page names exists: anchors of other pages, and files of the project."""

import re
from pathlib import Path

import pytest

from vedette.config.models import Config

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon/vedette"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md"),
                *(ROOT / "examples").rglob("*.md")])
NAMED = re.compile(r"`([\w./-]+(?:\.py|/))`")
"""A file or a folder, as inline code of its own."""
DOTTED = re.compile(r"`([a-z_]+\.(?!(?:py|json|yaml)`)[a-z_]+)`")
OWN = {path.name for path in (*ROOT.iterdir(), *PACKAGE.iterdir()) if path.is_dir()}
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - set(Config.model_fields) - {"store"}
"""Folders of the package that no section of the configuration or of a message is called after."""
FORMER = {"cloud", "updater", "wire"}
"""Folders that were taken apart."""


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """Return the path and the anchor of each link within the project."""
    return re.findall(r"\]\((?!https?://)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8"))


def is_there(name: str, page: Path) -> bool:
    """Whether a name that a page shows is a file or folder: from the root, the package, or beside the page."""
    return any((base / name).exists() for base in (ROOT, PACKAGE, page.parent, page.parent / "train"))


def missing(text: str, page: Path) -> list[str]:
    """Return each file, folder and module that the text names and the project does not have."""
    paths = {name for name in NAMED.findall(text) if name.endswith(".py") or name.split("/")[0] in FORMER | OWN}
    modules = {name for name in DOTTED.findall(text) if name.split(".")[0] in ROOMS}
    return [*sorted(name for name in paths if not is_there(name, page)),
            *sorted(name for name in modules if not is_there(f"{name.replace('.', '/')}.py", page)
                    and not is_there(name.replace(".", "/"), page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_heading(page: Path) -> None:
    """Each link within the project names a file that exists and, with an anchor, a heading there."""
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    """Each file, folder and module of the project that a page names exists."""
    assert missing(page.read_text(encoding="utf-8"), page) == []


def test_a_module_that_is_gone_is_found() -> None:
    """A file, a folder and a dotted module at their place of before are found; a key of the configuration is none."""
    gone = "`daemon/vedette/reasons.py`, `updater/`, `wire/`, `vision.model_spec_of_old`, `_lib/places.py`"
    there = "`daemon/vedette/errors.py`, `_lib/`, `vision.model_spec`, `camera.source`, `models/`, `bench/daemon.py`"
    assert len(missing(gone, ROOT / "README.md")) == 5
    assert missing(there, ROOT / "README.md") == []


def test_an_anchor_is_that_of_its_heading(tmp_path: Path) -> None:
    """Blanks become dashes; signs go."""
    page = tmp_path / "page.md"
    page.write_text("# One: two, three\ntext\n### vedette.json\n## `vedette serve`\n")
    assert anchors(page) == {"one-two-three", "vedettejson", "vedette-serve"}


def test_the_index_of_decisions_has_each_title() -> None:
    """Each page of docs/decisions/ is in the index once, under its own title."""
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for page in sorted(set(folder.glob("*.md")) - {folder / "README.md"}):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert index.count(f"- [{title}]({page.name})\n") == 1, page.name
