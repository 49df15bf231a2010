"""A network is converted once, whole or not at all, and an error of a tool is one message."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import writer
from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen
from vedette.errors import ModelUnsupported
from vedette.workshop import convert, environments
from vedette.workshop.convert import Options, Route, to_float
from vedette.workshop.inputs import source_of

COPIES = "import shutil, sys; print('vedette: copies'); shutil.copy({model!r}, sys.argv[2] + '/float.tflite')"
WAITS = "import signal, sys; open(sys.argv[2] + '/half', 'w'); print('vedette: waits', flush=True); signal.pause()"
FAILS = "print('loading'); raise ValueError('no such layer: Lambda')"
CALLS = """
import sys
from pathlib import Path
from vedette.workshop import convert, inputs
convert.ROUTES = {"keras": convert.Route("tensorflow", sys.argv[2])}
convert.to_float(inputs.source_of(Path(sys.argv[1])), lambda line: print(line, flush=True))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, in which the environment of TensorFlow is our own Python, and the route of Keras a script here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = tmp_path / "cache/vedette/environments" / f"tensorflow-{environments.digest('tensorflow')}" / "bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setitem(convert.ROUTES, "keras", Route("tensorflow", str(tmp_path / "script.py")))
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return tmp_path / "cache/vedette/converted"


def script(tmp_path: Path, text: str, model: bytes = b"") -> Path:
    (tmp_path / "model").write_bytes(model)
    path = tmp_path / "script.py"
    path.write_text(text.format(model=str(tmp_path / "model")) if model else text)
    return path


def test_a_network_is_converted_once(tmp_path: Path, cache: Path) -> None:
    """The second time nothing runs. Another input, another size or another script is another conversion."""
    script(tmp_path, COPIES, writer.identity())
    said: list[str] = []
    made = to_float(source_of(tmp_path / "net.h5"), said.append)
    assert made.read_bytes() == writer.identity()
    assert made.name == "net.tflite"
    assert "tensorflow: copies" in said
    said.clear()
    assert to_float(source_of(tmp_path / "net.h5"), said.append) == made
    assert said == [f"net.h5: its float model is {made}"]
    assert to_float(source_of(tmp_path / "net.h5"), said.append, Options("96x96")) != made
    with (tmp_path / "net.h5").open("ab") as file:
        file.write(b"more")
    assert to_float(source_of(tmp_path / "net.h5"), said.append) != made
    assert len([each for each in cache.iterdir() if each.is_symlink()]) == 3


def test_an_error_of_a_tool_is_one_message_with_its_log(tmp_path: Path, cache: Path) -> None:
    """The tool's own reason and the path of all that it wrote. Nothing else is left."""
    script(tmp_path, FAILS)
    with pytest.raises(ModelUnsupported) as caught:
        to_float(source_of(tmp_path / "net.h5"), print)
    message, log = str(caught.value).split("; the log is ")
    assert message == f"{tmp_path}/net.h5: tensorflow cannot convert it: ValueError: no such layer: Lambda"
    assert "loading\n" in Path(log).read_text()
    assert [each.name for each in cache.iterdir() if each.is_dir()] == []


def test_a_custom_operation_is_refused_and_named(tmp_path: Path, cache: Path) -> None:
    """Converters write them without a word, and no runtime has them."""
    script(tmp_path, COPIES, writer.custom("FlexErf"))
    with pytest.raises(ModelUnsupported, match=r"custom operations FlexErf.*; the log is [^;]*FlexErf at "):
        to_float(source_of(tmp_path / "net.h5"), print)
    assert [each.name for each in cache.iterdir() if each.is_dir()] == []


def test_after_a_kill_the_next_run_converts(tmp_path: Path, cache: Path) -> None:
    """SIGKILL while the tool writes: the tool ends too, and what it wrote is never used."""
    waits = script(tmp_path, WAITS)
    with BoundedPopen([sys.executable, "-c", CALLS, tmp_path / "net.h5", waits], stdout=subprocess.PIPE,
                      text=True) as converting:
        while "waits" not in present(converting.stdout).readline():
            pass
        (half,) = cache.glob("net-*/half")
        converting.send_signal(signal.SIGKILL)
        converting.wait(240)
    script(tmp_path, COPIES, writer.identity())
    assert to_float(source_of(tmp_path / "net.h5"), print).read_bytes() == writer.identity()
    assert not half.exists()


def test_a_float_model_is_taken_as_it_is_and_an_int8_one_is_refused(tmp_path: Path, cache: Path) -> None:
    """There is nothing to convert in either."""
    path = tmp_path / "net.tflite"
    path.write_bytes(writer.logistic())
    with pytest.raises(ModelUnsupported, match=r"INT8 already.*vedette model pack"):
        to_float(source_of(path), print)
    path.write_bytes(writer.dynamic_output())
    assert to_float(source_of(path), pytest.fail) == path


def test_what_the_device_cannot_run_is_refused_before_a_tool_is_fetched(tmp_path: Path, cache: Path) -> None:
    """Not even an environment is made."""
    path = tmp_path / "net.tflite"
    path.write_bytes(writer.custom("FlexErf"))
    with pytest.raises(ModelUnsupported, match=r"the device cannot run all of it[^;]*FlexErf at operation 0"):
        to_float(source_of(path), pytest.fail)
    assert not cache.exists()
