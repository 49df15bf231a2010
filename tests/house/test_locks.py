"""The locks agree with pyproject.toml, and each pinned version has hashes. No network is needed to see it."""

import re
import tomllib
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {"device": (), "device-numpy1": (), "dev": ("dev", "eval", "workshop"), "dev-tflite": ("dev", "eval")}
NOT_WITH_TFLITE = {"ai-edge-litert", "ruff", "mypy", "uv"}
MACHINES = [{"platform_machine": machine, "python_version": python, "python_full_version": f"{python}.0",
             "sys_platform": "linux"}
            for machine, python in product(("x86_64", "aarch64", "armv7l"), ("3.11", "3.12", "3.13"))]


class Pin:
    """One entry of a lock: the pinned requirement, its hashes, and what required it."""

    def __init__(self, entry: str) -> None:
        requirement, _, rest = entry.partition(" \\\n")
        self.requirement = Requirement(requirement)
        self.hashes = re.findall(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$", rest, re.MULTILINE)
        self.required_by = set(re.findall(r"^    #(?: via)? +(.+)$", rest, re.MULTILINE))
        self.other_lines = [line for line in rest.splitlines() if not re.match(r"    (--hash=sha256:|#)", line)]


def pins(lock: str) -> list[Pin]:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()
    return [Pin(entry) for entry in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]]


def wanted(lock: str) -> list[Requirement]:
    """What the project asks of an environment, and what builds the project there."""
    project = PYPROJECT["project"]
    texts = [*PYPROJECT["build-system"]["requires"], *project["dependencies"]]
    texts += [text for extra in LOCKS[lock] for text in project["optional-dependencies"][extra]]
    if lock == "dev-tflite":
        texts.append("tflite-runtime")
    found = map(Requirement, texts)
    return [one for one in found if lock != "dev-tflite" or one.name not in NOT_WITH_TFLITE]


def applying(requirements: Iterable[Requirement], machine: dict[str, str]) -> list[Requirement]:
    return [one for one in requirements if one.marker is None or one.marker.evaluate({**machine})]


def versions(lock: str, machine: dict[str, str]) -> dict[str, str]:
    """The pinned version of each package on this machine."""
    found = applying((pin.requirement for pin in pins(lock)), machine)
    names = [canonicalize_name(one.name) for one in found]
    assert len(names) == len(set(names)), f"{lock}: pinned twice"
    return {name: str(one.specifier).removeprefix("==") for name, one in zip(names, found, strict=True)}


@pytest.mark.parametrize("lock", LOCKS)
def test_each_version_is_pinned_with_hashes(lock: str) -> None:
    """One exact version, SHA-256 hashes, and no other option: no index and no address is named."""
    assert pins(lock)
    for pin in pins(lock):
        assert re.fullmatch(r"==[\w.]+", str(pin.requirement.specifier)), pin.requirement
        assert pin.requirement.url is None
        assert pin.hashes, pin.requirement
        assert pin.other_lines == []
    assert "://" not in (ROOT / "locks" / f"{lock}.txt").read_text()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_project_asks_for(lock: str) -> None:
    """On each processor and Python, and nothing is left over. If this fails, run `make lock`."""
    for machine in MACHINES:
        pinned = versions(lock, machine)
        for one in applying(wanted(lock), machine):
            version = pinned.get(canonicalize_name(one.name))
            assert version, f"{lock} has no {one} for {machine}"
            assert one.specifier.contains(version), f"{lock} pins {version}, but pyproject.toml has {one}"
    asked_for = {pin.requirement.name for pin in pins(lock) if "-r /dev/stdin" in pin.required_by}
    assert asked_for == {canonicalize_name(one.name) for one in wanted(lock)}


@pytest.mark.parametrize(("part", "whole"), [("device", "dev"), ("device-numpy1", "dev-tflite")])
def test_developers_test_what_devices_install(part: str, whole: str) -> None:
    """A package has the same version in both locks."""
    for machine in MACHINES:
        device, developer = versions(part, machine), versions(whole, machine)
        common = device.keys() & developer.keys()
        assert {name: device[name] for name in common} == {name: developer[name] for name in common}
        assert whole != "dev" or common == device.keys()


@pytest.mark.parametrize("lock", ["device-numpy1", "dev-tflite"])
def test_the_locks_for_numpy_1_obey_its_constraints(lock: str) -> None:
    """picamera2 of bookworm and tflite-runtime need them."""
    lines = (ROOT / "constraints/numpy1.txt").read_text().splitlines()
    constraints = [Requirement(line) for line in lines if not line.startswith("#")]
    for machine in MACHINES:
        pinned = versions(lock, machine)
        assert {"numpy", "opencv-python-headless"} <= pinned.keys()
        for one in constraints:
            assert one.name not in pinned or one.specifier.contains(pinned[one.name])
