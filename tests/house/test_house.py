"""The promises of the documents are kept: links, commands, exit codes, versions, and the rules of the code."""

import ast
import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import vedette
from vedette import errors
from vedette.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = sorted((ROOT / "daemon").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def leaves(error: type[errors.VedetteError]) -> list[type[errors.VedetteError]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in leaves(child))]


def lines_with(paths: list[Path], pattern: str) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{number}" for path in paths
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if re.search(pattern, line)]


def test_pages_name_targets_that_exist() -> None:
    """Each `make …` a page shows is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.compile(r"(?:`|sudo |^)make ([a-z-]+)", re.MULTILINE)
    named = {name for page in PAGES for name in shown.findall(page.read_text(encoding="utf-8"))}
    assert named
    assert named - targets == set()


def test_every_exit_code_is_documented() -> None:
    """docs/operations.md has a row for the code of every error."""
    documented = set(map(int, re.findall(r"^\| (\d+) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)))
    assert {error.exit_code for error in leaves(errors.VedetteError)} <= documented


def test_every_command_exists_and_has_an_example() -> None:
    """Each command of the table can be imported, takes arguments and shows how it is called."""
    for name, (module_name, _) in COMMANDS.items():
        module = importlib.import_module(module_name)
        assert f"vedette {name}" in module.EXAMPLE
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_one_version() -> None:
    """The package and pyproject.toml have the same version."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == vedette.__version__


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it catches unexpected errors and does not raise them again."""
    broad = handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def test_a_broad_except_stands_in_an_outermost_frame_only() -> None:
    """Where a worker ends, and where the supervisor stops a part. Nowhere else is an unforeseen error swallowed."""
    found = {str(path.relative_to(ROOT)) for path in CODE for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.ExceptHandler) and swallows(node)}
    assert found == {"daemon/vedette/_lib/worker.py", "daemon/vedette/supervisor.py"}


def test_nothing_is_left_for_later() -> None:
    """There are no reminders in code or tests, and no patching and no sleeping in tests."""
    here = Path(__file__)
    assert lines_with([*CODE, *(path for path in TESTS if path != here)], r"TODO|FIXME|XXX") == []
    assert lines_with([path for path in TESTS if path != here], r"mock\.patch|monkeypatch\.setattr|time\.sleep\(") == []


def test_files_stay_readable() -> None:
    """No module is longer than 350 lines."""
    assert [path.name for path in CODE if len(path.read_text(encoding="utf-8").splitlines()) > 350] == []


def parameters(constructor: ast.FunctionDef) -> int:
    """How many it has, `self` left out."""
    args = constructor.args
    return len([*args.posonlyargs, *args.args, *args.kwonlyargs]) - 1 + bool(args.vararg) + bool(args.kwarg)


def constructors(path: Path) -> list[tuple[str, int]]:
    """Each class of a module that has a constructor, with its number of parameters."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(kind.name, parameters(each)) for kind in ast.walk(tree) if isinstance(kind, ast.ClassDef)
            for each in kind.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]


def test_no_constructor_takes_more_than_eight_arguments() -> None:
    """A class that needs more does more than one thing."""
    found = [(path.name, name, number) for path in CODE for name, number in constructors(path)]
    assert [each for each in found if each[2] > 8] == []
    assert max(number for _, _, number in found) == 8, "the counting works"


def test_no_process_of_a_test_outlives_its_block() -> None:
    """The `with` of a plain Popen waits for ever where its block fails; the campaigns are ended as a whole."""
    assert lines_with([path for path in TESTS if "campaign" not in path.parts], r"^ *with subprocess\.Popen\(") == []


def test_few_lambdas() -> None:
    """Fewer than 30 lines of the package have one: a name says more."""
    assert len(lines_with(CODE, r"\blambda\b")) < 30


@pytest.mark.parametrize(("versions", "code"), [((), 0), (("11", "12", "13"), 0), (("1",), 69)])
def test_a_fitting_python_is_found_or_named(versions: tuple[str, ...], code: int) -> None:
    """The first Python that is supported is printed; else what to install."""
    done = subprocess.run([ROOT / "tools" / "find-python", *versions], capture_output=True, text=True, timeout=240)
    assert done.returncode == code
    assert done.stdout if code == 0 else "install python3 and python3-venv" in done.stderr
