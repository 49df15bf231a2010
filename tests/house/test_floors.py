"""The house stands: imports point down the floors, and each third party lives behind one file.

`FLOORS` is the map; ARCHITECTURE.md explains it. A room stands for every module in it that has no line of its own.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "daemon" / "vedette"

FLOORS = {
    "errors": 0, "types": 0, "_lib": 0,
    "ports": 1, "net": 1, "tflite": 1, "supervisor": 1,
    "config": 2,
    "messages": 3, "vision": 3,
    "device": 4, "mqtt": 4, "serve": 4,
    "camera": 5, "events": 5, "fallback": 5, "store": 5,
    "detect": 6, "validate": 6,
    "drift": 7, "health": 7, "update": 7,
    "commands": 8, "fleet": 8, "page": 8, "workshop": 8,
    "app": 9,
    "cli": 10,
    "__main__": 11,
}
HOMES = {
    "paho": {"mqtt.connection", "mqtt.bounded_client"},
    "yaml": {"config.document"},
    "ai_edge_litert": {"vision.interpreter", "vision.xnnpack", "workshop"},
    "litert_quantizer": {"workshop"}, "flatbuffers": {"workshop"},
    # in the environments of their tools
    "keras": {"workshop.tools"}, "tensorflow": {"workshop.tools"}, "onnx": {"workshop.tools"},
    "onnxruntime": {"workshop.tools"},
    "onnx2tf": {"workshop.tools"}, "litert_torch": {"workshop.tools"}, "torch": {"workshop.tools"},
    "ultralytics": {"workshop.tools"},
    "tflite_runtime": {"vision.interpreter", "vision.xnnpack"},
    "picamera2": {"camera.child.picamera"},
    "libcamera": {"camera.child.picamera"},
    # not camera/: the child is small
    "pydantic": {"config", "messages", "commands", "cli", "vision", "tflite", "validate", "store", "fleet",
                 "fallback", "serve", "drift", "update.source"},
    "pycocotools": {"validate.average_precision"},
    "scipy": {"validate.tracking_metrics"},
    "pydantic_core": {"config.problems"},
    "typing_extensions": {"messages"},    # the TypedDict pydantic asks for below Python 3.12
    "cryptography": {"fleet.keys"},
    "securesystemslib": {"fleet.keys", "fleet.metadata"},     # python-tuf's own keys and signers
    "tuf": {"fleet.metadata", "update.source"},
    "numpy": {"camera", "events", "vision", "validate", "workshop", "fallback.motion", "fallback.cloud_picture"},
    "cv2": {"camera", "vision", "events.best_picture", "fallback.motion", "fallback.cloud_picture"},
}


def modules(package: Path) -> dict[str, ast.Module]:
    """Every module by its dotted name below the package; a sub-package's `__init__` has the sub-package's name."""
    return {".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").removesuffix("."):
            ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in sorted(package.rglob("*.py"))}


def imports(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Each imported name, in parts, wherever the import stands; `import_module("x")` counts."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (tuple(alias.name.split(".")) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((*module.split("."), alias.name) for alias in names)
            case ast.ImportFrom():
                yield ("", "relative import")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]
                          ) if name in ("import_module", "__import__"):
                yield tuple(module.split("."))


def rooms(module: str) -> Iterator[str]:
    """The module itself, and each room it is in, the smallest first."""
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def floor(module: str) -> int | None:
    """The floor of a module, or of the room it is in."""
    return next((FLOORS[room] for room in rooms(module) if room in FLOORS), None)


def inner_imports(package: Path) -> dict[str, set[str]]:
    """For each module, those of the package it imports."""
    known = modules(package)
    found: dict[str, set[str]] = {}
    for module, tree in known.items():
        targets = (".".join(parts[1:]) for parts in imports(tree) if parts[0] == "vedette")
        found[module] = {target if target in known else target.rpartition(".")[0] for target in targets} - {""}
    return found


def floor_violations(package: Path) -> list[str]:
    """Every import that does not point down, or sideways in one room."""
    found = []
    for module, targets in inner_imports(package).items():
        here = floor(module)
        if module and here is None:
            found.append(f"{module}: on no floor; add it to FLOORS")
        for target in sorted(targets):
            there = floor(target)
            same_room = module.split(".")[0] == target.split(".")[0] and "." in module + target
            if here is None or there is None or there > here or (there == here and not same_room):
                found.append(f"{module} (floor {here}) imports {target} (floor {there})")
    return found


def home_violations(package: Path) -> list[str]:
    """Every import of a third party outside its home, and of one that has no home."""
    ours = {"vedette", *sys.stdlib_module_names}
    foreign = ((module, name) for module, tree in modules(package).items()
               for name in sorted({parts[0] for parts in imports(tree)} - ours))
    return [f"{module} imports {name}; its home is {sorted(HOMES.get(name, {'nowhere'}))}"
            for module, name in foreign if not set(rooms(module)) & HOMES.get(name, set())]


def test_imports_point_down_the_floors() -> None:
    """A module imports from strictly lower floors, or from its own room; every module has a floor."""
    assert floor_violations(PACKAGE) == []


def test_third_parties_stay_at_home() -> None:
    """Each third party is imported in its one file, numpy and OpenCV where pixels and tensors are."""
    assert home_violations(PACKAGE) == []


def test_no_import_cycles() -> None:
    """Not even between siblings, and not for types only."""
    list(TopologicalSorter(inner_imports(PACKAGE)).static_order())


def test_every_module_has_a_docstring() -> None:
    """Each module opens with a docstring."""
    assert [module for module, tree in modules(PACKAGE).items() if not ast.get_docstring(tree)] == []


def test_the_map_names_only_existing_modules() -> None:
    """A floor or a home without its module is a leftover."""
    known = {room for module in modules(PACKAGE) for room in rooms(module)}
    assert (set(FLOORS) | set().union(*HOMES.values())) - known == set()


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    package = tmp_path / "vedette"
    for name, text in {"types.py": "import vedette.detect.pipeline", "app.py": "from vedette.camera import folder",
                       "detect/pipeline.py": "from vedette.validate import verify\nfrom vedette.app import x",
                       "validate/verify.py": "def f():\n    from vedette.detect import pipeline\n    import paho.mqtt",
                       "odd.py": "from . import types", "vision/nms.py": "import numpy\nimport requests",
                       "camera/folder.py": "import cv2\nfrom vedette.camera.open import a",
                       "camera/open.py": "import importlib\nimportlib.import_module('yaml')"}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


def test_a_planted_import_upwards_is_found(planted: Path) -> None:
    """Upwards, sideways out of the room, inside a function, from no floor: each is reported."""
    assert floor_violations(planted) == [
        "detect.pipeline (floor 6) imports app (floor 9)",
        "detect.pipeline (floor 6) imports validate.verify (floor 6)", "odd: on no floor; add it to FLOORS",
        "types (floor 0) imports detect.pipeline (floor 6)",
        "validate.verify (floor 6) imports detect.pipeline (floor 6)"]


def test_a_planted_stray_third_party_is_found(planted: Path) -> None:
    """Also by name in a string, in a function, by a relative import, and one nobody decided on."""
    assert [line.split(";")[0] for line in home_violations(planted)] == [
        "camera.open imports yaml", "odd imports ", "validate.verify imports paho", "vision.nms imports requests"]


def test_a_planted_cycle_is_found(planted: Path) -> None:
    """Two modules that import each other are a cycle wherever the imports stand."""
    with pytest.raises(CycleError):
        list(TopologicalSorter(inner_imports(planted)).static_order())
