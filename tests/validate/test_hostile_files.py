"""Files that cost their reader much more than they weigh: each is refused, in little memory and little time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import hostile, tiny_detectors, writer
from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged, ModelError, ModelUnreadable, ModelUnsupported
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.validate.candidate import Candidate
from vedette.vision.bundle import baseline_of
from vedette.vision.hints import from_bundle
from vedette.vision.model_spec import resolve

pytestmark = pytest.mark.slow

GROWTH_MB, BUSY_S = 100, 5.0
REFUSES = """
import json, sys, time
from pathlib import Path
from tests.support.models import hostile
from tests.support.waiting.peak_memory import peak_mb
from tests.validate.test_hostile_files import chain

chain(hostile.tiny_detectors.write(Path(sys.argv[1])))
before = peak_mb()
for name in sys.argv[2:]:
    start = time.process_time()
    refusal = chain(Path(sys.argv[1]) / f"{name}.tflite")
    print(json.dumps([name, refusal, peak_mb() - before, time.process_time() - start]), flush=True)
"""


def chain(path: Path) -> str | None:
    """Read a file as far as anything reads it; returns the refusal."""
    try:
        model = read_model(path)
        resolve(model, DetectorConfig(model=path))
        golden.read(model)
        baseline_of(model)
    except ModelError as error:
        return str(error)
    return None


def test_every_hostile_file_is_refused_in_bounds(tmp_path: Path) -> None:
    """The whole reading of each grows its process by less than 100 MB and takes less than 5 s."""
    for name in hostile.HOSTILE:
        hostile.write(tmp_path, name)
    done = subprocess.run([sys.executable, "-c", REFUSES, tmp_path, *hostile.HOSTILE], text=True, capture_output=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        name, refusal, growth_mb, busy_s = json.loads(line)
        assert refusal, name
        assert (name, growth_mb < GROWTH_MB, busy_s < BUSY_S) == (name, True, True), line


@pytest.mark.parametrize(("files", "seen"), [
    ({"labels.txt": b"a\n" * 200_000}, r"labels\.txt: 200,000 labels; expected at most 100,000"),
    ({"labels.txt": b"a" * 300}, r"labels\.txt: a label of 300 characters"),
    ({"labels.txt": b"a" * (2 << 20)}, r"labels\.txt: 2,097,152 bytes"),
    ({"metadata.json": b'{"task": "detect", "names": ["' + b"a" * 300 + b'"]}'}, r"metadata\.json: a label of 300"),
    ({"vedette.json": b'{"a": [' + b"1," * 200_000 + b"1]}"}, r"vedette\.json: [\d,]+ bytes with about 200,002 values"),
    ({"golden/expected.json": b'{"frames": {"a": {"b": [' + b"1," * 2000 + b"1]}}}"}, r"expected\.json: .*problems"),
    ({"golden/expected.json": b"[" * 200_000}, r"expected\.json: [\d,]+ bytes with about 200,000 values"),
    ({f"{number}.txt": bytes(3 << 20) for number in range(3)}, "more than 8 MiB beside its pictures"),
])
def test_what_is_too_large_is_named(tmp_path: Path, files: dict[str, bytes], seen: str) -> None:
    """The refusal names the attachment, how much it is, and how much is allowed."""
    refusal = chain(tiny_detectors.write(tmp_path, files))
    assert refusal is not None
    with pytest.raises(ModelError, match=seen):
        raise ModelUnsupported(refusal)


def test_bytes_that_belong_to_nothing_are_refused(tmp_path: Path) -> None:
    """A little padding behind a model is usual; a lot is not, behind the model or inside its ZIP."""
    model = tiny_detectors.write(tmp_path).read_bytes()
    plain = writer.convolution()
    path = tmp_path / "padded.tflite"
    path.write_bytes(plain + bytes(60_000))
    assert read_model(path).ops
    for content, seen in ((plain + bytes(70_000), "bytes after the model that nothing refers to"),
                          (hostile.padding_inside_the_zip(model, 2 << 20), "bytes that belong to no file")):
        path.write_bytes(content)
        with pytest.raises(ModelUnreadable, match=seen):
            read_model(path)


@pytest.mark.parametrize("stated", [1, 2000])
def test_a_directory_is_judged_by_its_end_record(tmp_path: Path, stated: int) -> None:
    """A long directory is refused, whether the end record tells the number of its entries or lies."""
    path = tmp_path / "directory.tflite"
    path.write_bytes(hostile.a_directory_of_many_entries(writer.convolution(), 10_000, stated=stated))
    with pytest.raises(ModelUnreadable, match=f"holds {stated:,} files in a directory of 470,000 bytes"):
        read_model(path)


def test_an_operation_without_outputs_ends_nothing(tmp_path: Path) -> None:
    """The kind of the model's arithmetic is looked for in its layers, and this one has no output to tell it."""
    tensors = [writer.Tensor((1, 16, 16, 3), "uint8", "image"),
               writer.Tensor((1, 4), "uint8", "score", (1 / 256,), (0,))]
    path = tmp_path / "odd.tflite"
    path.write_bytes(writer.build(writer.Graph(tensors, [writer.Op("CONV_2D", (0, 0), ())], (0,), (1,))))
    assert resolve(read_model(path), DetectorConfig(model=path, decoder="classifier")).decoder == "classifier"


@pytest.mark.parametrize("dtype", ["string", "int4", "float32"])
def test_a_quantised_output_without_integers_is_refused(tmp_path: Path, dtype: str) -> None:
    """The error names the type, whatever decoder is tried."""
    tensors = [writer.Tensor((1, 16, 16, 3), "uint8", "image"), writer.Tensor((1, 4), dtype, "score", (1 / 256,), (0,))]
    path = tmp_path / "odd.tflite"
    path.write_bytes(writer.build(writer.Graph(tensors, [writer.Op("ABS", (0,), (1,))], (0,), (1,))))
    with pytest.raises(ModelUnsupported, match=dtype):
        resolve(read_model(path), DetectorConfig(model=path, decoder="classifier"))


def test_what_nobody_foresaw_is_a_model_error(tmp_path: Path) -> None:
    """Whatever goes wrong while a file is read becomes a refusal that names the file."""
    path = tiny_detectors.write(tmp_path)
    model = read_model(path)
    object.__setattr__(model, "outputs", None)
    with pytest.raises(ModelUnreadable, match=r"pooling\.tflite: cannot be understood: TypeError"):
        resolve(model, DetectorConfig(model=path))


def test_pictures_may_be_left_out(tmp_path: Path) -> None:
    """Who only needs to know what is there gets the pictures empty, and everything else."""
    path = tiny_detectors.write(tmp_path, {"golden/1.png": b"png", "vedette.json": b"{}"})
    model = read_model(path, pictures=False)
    assert (model.attachments["golden/1.png"], model.attachments["vedette.json"]) == (b"", b"{}")
    assert read_model(path).attachments["golden/1.png"] == b"png"
    assert from_bundle(model).name is None


def test_the_child_reads_a_file_before_anything_here_does(tmp_path: Path) -> None:
    """A page is no model, but that is found out in the child: one that ends at once leaves nobody to say it."""
    page = tmp_path / "page.tflite"
    page.write_bytes(b"<html>" * 500)
    for module, seen in (("vedette.validate.candidate_child", ModelUnreadable), ("this", ModelDamaged)):
        with Candidate(page, DetectorConfig(threads=1), child_module=module) as candidate, pytest.raises(seen):
            candidate.probe()


def test_a_refusal_of_any_length_arrives(tmp_path: Path) -> None:
    """Its words are cut, so that they fit into one message."""
    long = writer.Graph([writer.Tensor((1,) * 16, "int8", "x" * 4000)], [], (0,) * 100, (0,))
    path = tmp_path / "long.tflite"
    path.write_bytes(writer.build(long))
    with Candidate(path, DetectorConfig(threads=1)) as candidate, pytest.raises(ModelUnsupported, match="100 inputs"):
        candidate.probe()
