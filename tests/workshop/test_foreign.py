"""Networks of other frameworks are steps: real children, prepared and decoded by the product's own code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.models import bundles
from tests.support.present import present
from vedette.errors import InvokeFailed, ModelUnreadable, ModelUnsupported, ToolMissing
from vedette.vision.model_spec import ModelSpec
from vedette.workshop.comparison import Comparison, compare
from vedette.workshop.foreign import PROGRAM, ForeignInterpreter
from vedette.workshop.step import Step, read_pictures
from vedette.workshop.steps import open_foreign, open_step

HEAD = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import numpy as np
from run_network import Network, serve
def mean(arrays):
    cells = arrays[0].reshape(1, 3, 2, 8, 2, 8).mean((3, 5)).transpose(0, 2, 3, 1)
    print("a framework that prints")
    return [cells]
def load(change=lambda cells: cells, metadata={{}}):
    return Network(lambda arrays: [change(*mean(arrays))], [("image", (1, 3, 16, 16), "float32")], "numpy",
                   np.__version__, metadata, ["heat"])
"""
TAIL = "sys.exit(serve(load, int(sys.argv[1])))"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Step]:
    """The INT8 file, opened once."""
    step = open_step(str(bundles.pack(tmp_path_factory.mktemp("sound"))))
    yield step
    step.close()


@pytest.fixture(scope="module")
def spec(first: Step) -> ModelSpec:
    return present(first.spec)


def command(folder: Path, tail: str = TAIL) -> tuple[Path, list[str | Path]]:
    """Write the average pooling as a program with planes in its input; returns it and what starts it."""
    program = folder / "net.py"
    program.write_text(f"{HEAD}\n{tail}\n")
    return program, [sys.executable, "-I", program]


def against(first: Step, folder: Path, tail: str = TAIL) -> Comparison:
    path, started = command(folder, tail)
    step = open_foreign(path, "onnx", started, first.spec)
    try:
        return compare([first, step], read_pictures([bundles.picture(folder), bundles.picture(folder, "b.png")]))
    finally:
        step.close()


def test_a_network_with_planes_agrees(first: Step, tmp_path: Path) -> None:
    """A float network in another layout gives what the INT8 file gives, within a step of its scores."""
    expected, step = against(first, tmp_path).steps
    assert (step.kind, step.exact, step.runtime) == ("onnx", True, f"numpy {np.__version__}")
    assert (step.agreement.f1, step.breaks) == (1, False)
    assert step.agreement.labels == {"leaf", "sky"}
    assert max(step.box_px) == 0
    assert step.score_difference == pytest.approx(0, abs=0.01)
    assert step.first_values == pytest.approx(expected.first_values, abs=0.005)


def test_a_network_that_takes_other_values_is_named(first: Step, tmp_path: Path) -> None:
    """Its channels were swapped by whoever converted it."""
    tail = f"swapped = load\nload = lambda: swapped(lambda cells: cells[..., ::-1])\n{TAIL}"
    step = against(first, tmp_path, tail).broken
    assert step
    assert step.cause == "color: it agrees with bgr, but runs with rgb"


def test_labels_of_the_exporter_are_used(spec: ModelSpec, tmp_path: Path) -> None:
    """As Ultralytics writes them into its exports."""
    names = {0: "background", 1: "tree", 2: "lake"}
    path, started = command(tmp_path, f"named = load\nload = lambda: named(metadata={{'names': {names}}})\n{TAIL}")
    step = open_foreign(path, "onnx", started, spec)
    step.close()
    assert step.spec.labels == tuple(names.values())
    assert step.spec.limits.score_threshold == spec.limits.score_threshold


@pytest.mark.parametrize(("tail", "kind", "message"), [
    ("raise SystemExit('no such network')", ModelUnsupported, "ended with 1; its last error output: no such network"),
    (f"def load():\n    raise ValueError('bad graph')\n{TAIL}", ModelUnsupported, "ValueError: bad graph"),
    (f"def load():\n    import no_such_framework\n{TAIL}", ToolMissing, "no_such_framework"),
    ("print('nonsense', flush=True)", ModelUnsupported, "invalid answer"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", ModelUnsupported, "ended with -11"),
])
def test_a_child_that_fails_is_an_error(tmp_path: Path, tail: str, kind: type[Exception], message: str) -> None:
    """Whatever it does at its start, there is one line about it."""
    path, started = command(tmp_path, tail)
    with pytest.raises(kind, match=message):
        ForeignInterpreter(path, started)


def test_an_invoke_that_fails_is_an_error(spec: ModelSpec, tmp_path: Path) -> None:
    """By another size of the output, by an exception, which ends the child, and after close."""
    fates = "iter([0, 'size', 'error'])"
    tail = f"""
fates, sound = {fates}, load
def fate(cells):
    match next(fates):
        case 'size': return cells[:, :1]
        case 'error': raise ValueError("no")
    return cells
load = lambda: sound(fate)
{TAIL}"""
    path, started = command(tmp_path, tail)
    interpreter = ForeignInterpreter(path, started)
    for message in ("changed its size", "ValueError: no", "failed to invoke"):
        with pytest.raises(InvokeFailed, match=message):
            interpreter.invoke()
    interpreter.close()
    interpreter.close()
    with pytest.raises(InvokeFailed, match="closed"):
        interpreter.invoke()


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    """A picture, and a network that must be converted first."""
    picture, keras = tmp_path / "a.png", tmp_path / "net.h5"
    cv2.imwrite(str(picture), np.zeros((4, 4, 3), np.uint8))
    keras.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelUnreadable, match="a PNG picture"):
        open_step(str(picture))
    with pytest.raises(ModelUnsupported, match="vedette model convert"):
        open_step(str(keras))
