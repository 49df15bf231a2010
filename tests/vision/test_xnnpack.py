"""Vedette's own delegate: it runs only in the version it is made for, and gives the same results as without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.models import writer
from tests.support.models.mutation import REAL
from vedette.vision import xnnpack
from vedette.vision.interpreter import Interpreter, chosen_runtime

HERE = chosen_runtime("auto") == (xnnpack.RUNTIME, xnnpack.VERSION)
only_here = pytest.mark.skipif(not HERE, reason=f"this is not {xnnpack.RUNTIME} {xnnpack.VERSION}")


def outputs(path: Path, *, delegate: bool) -> list[np.ndarray]:
    interpreter = Interpreter(path, threads=1, delegate=delegate)
    assert interpreter.delegate == delegate, interpreter.delegate_note
    view = interpreter.input()
    random = np.random.default_rng(7)
    smooth = np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3)), 64, axis=0), 64, axis=1)
    view[0] = smooth[:view.shape[1], :view.shape[2]] + np.iinfo(view.dtype).min
    interpreter.invoke()
    seen = [interpreter.output(index).astype(float) for index in range(len(interpreter.outputs))]
    interpreter.close()
    return seen


@pytest.mark.parametrize(("runtime", "version"), [("litert", "2.3.0"), ("tflite-runtime", "2.13.0"),
                                                  ("tflite-runtime", "2.14.1")])
def test_any_other_version_is_refused(runtime: str, version: str) -> None:
    """The delegate is made for one version of one runtime. With any other it raises an error and does nothing."""
    with pytest.raises(xnnpack.DelegateRefused, match=version):
        xnnpack.Delegate(runtime, version, threads=1)


@pytest.mark.skipif(HERE, reason=f"this is {xnnpack.RUNTIME} {xnnpack.VERSION}")
def test_without_the_extension_module_it_is_refused() -> None:
    """The delegate is refused, without a crash, when its functions cannot be found."""
    with pytest.raises(xnnpack.DelegateRefused, match="functions are missing"):
        xnnpack.Delegate(xnnpack.RUNTIME, xnnpack.VERSION, threads=1)


@only_here
def test_closing_twice_is_safe() -> None:
    """`close` deletes the delegate once."""
    delegate = xnnpack.Delegate(xnnpack.RUNTIME, xnnpack.VERSION, threads=2)
    assert repr(delegate) == "<Delegate XNNPACK>"
    delegate.close()
    delegate.close()
    assert repr(delegate) == "<Delegate closed>"


@only_here
def test_it_takes_all_nodes_of_an_int8_graph(tmp_path: Path) -> None:
    """Without the delegate no node of an INT8 graph runs on XNNPACK, with it all do; results differ by rounding."""
    path = tmp_path / "model.tflite"
    path.write_bytes(writer.convolution())
    plain = Interpreter(path)
    assert plain.xnnpack_share == 0.0
    plain.close()
    without, = outputs(path, delegate=False)
    with_it, = outputs(path, delegate=True)
    assert np.abs(without - with_it).max() <= 1
    assert without.std() > 0


@only_here
@pytest.mark.skipif(not REAL.is_dir(), reason="the real models are not here")
@pytest.mark.parametrize("name", ["yolo11n_224_coco_int8", "mobilenet_v2_224_imagenet_uint8"])
def test_real_models_give_the_same_within_rounding(name: str) -> None:
    """On a picture of plain areas nearly all output values of the real models are equal within two steps."""
    without, = outputs(REAL / f"{name}.tflite", delegate=False)
    with_it, = outputs(REAL / f"{name}.tflite", delegate=True)
    assert np.mean(np.abs(without - with_it) <= 2) > 0.97
