"""Which files publishing copies, in which order, and which ones it refuses to replace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.network.operators import Operator
from vedette.errors import FleetError, ModelDamaged, StateUnusable

MODEL = b"a model" * 1000


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.release(MODEL)
    return operator


def copies(operator: Operator) -> list[str]:
    """Publish; returns the copied files, in order."""
    names: list[str] = []
    assert operator.publish(names.append) == len(names)
    return names


def model(folder: Path) -> Path:
    return next(folder.rglob("*.street-3.tflite"))


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_comes_after_the_files_that_it_names(operator: Operator) -> None:
    """Models, targets, snapshot, timestamp; then roots. Existing files do not change; others can read the files."""
    assert [name.rpartition(".street")[2] for name in copies(operator)] == [
        "-3.tflite", "metadata/2.targets.json", "metadata/2.snapshot.json", "metadata/timestamp.json",
        "metadata/1.root.json"]
    assert copies(operator) == []
    assert {path.stat().st_mode & 0o777 for path in operator.served.rglob("*") if path.is_file()} == {0o644 & ~umask()}
    with operator.opened() as repository:
        repository.renew(operator.keys)
    assert copies(operator) == ["metadata/timestamp.json"]
    with operator.opened() as repository:
        repository.rotate(operator.keys, "timestamp")
    assert copies(operator) == ["metadata/timestamp.json", "metadata/2.root.json"]


def test_a_cut_model_at_the_destination_is_copied_again(operator: Operator) -> None:
    """Its size shows it: another tool may have stopped in the middle."""
    operator.publish()
    model(operator.served).write_bytes(MODEL[:100])
    assert len(copies(operator)) == 1
    assert model(operator.served).read_bytes() == MODEL


def test_another_fleet_is_not_overwritten(operator: Operator, tmp_path: Path) -> None:
    """Neither another fleet nor a folder that is not a repository loses a file."""
    other = Operator(tmp_path / "other")
    other.served = operator.served
    operator.publish()
    with other.opened() as repository:
        repository.renew(other.keys)
        repository.renew(other.keys)
    before = {path: path.read_bytes() for path in operator.served.rglob("*") if path.is_file()}
    with pytest.raises(FleetError, match=r"1\.root\.json: expected the file that this fleet signed"):
        other.publish()
    (operator.served / "metadata/timestamp.json").write_text("<html>")
    with pytest.raises(FleetError, match="expected the timestamp of a repository"):
        operator.publish()
    (operator.served / "metadata/timestamp.json").write_bytes(before[operator.served / "metadata/timestamp.json"])
    assert before == {path: path.read_bytes() for path in operator.served.rglob("*") if path.is_file()}


def test_an_old_copy_of_the_fleet_is_not_published(operator: Operator) -> None:
    """A folder from last month's backup would be a rollback, which devices refuse."""
    operator.publish()
    path = operator.served / "metadata/timestamp.json"
    ahead = json.loads(path.read_bytes())
    ahead["signed"]["version"] += 1
    path.write_text(json.dumps(ahead))
    with pytest.raises(FleetError, match="old copy"):
        operator.publish()


def test_a_damaged_model_is_not_published(operator: Operator) -> None:
    """The digest in its name is checked before it is copied; the timestamp that leads to it is not copied."""
    model(operator.folder / "repository").write_bytes(MODEL[:-1] + b"?")
    with pytest.raises(ModelDamaged):
        operator.publish()
    assert not (operator.served / "metadata/timestamp.json").exists()


def test_a_place_that_cannot_be_written(operator: Operator, tmp_path: Path) -> None:
    """The message names it."""
    operator.served = tmp_path / "file"
    operator.served.write_text("")
    with pytest.raises(StateUnusable, match="file"):
        operator.publish()
