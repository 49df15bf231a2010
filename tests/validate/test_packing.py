"""`vedette model pack`: what is packed is read back, and golden frames that prove nothing are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import bundles, tiny_detectors, writer
from tests.support.present import present
from vedette.cli import main
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.vision import bundle, images
from vedette.vision.model_spec import resolve
from vedette.vision.normalization import Normalization

pytestmark = pytest.mark.slow

BASELINE: dict[str, Any] = {"frames": 2, "brightness": {"mean": 90.5, "std": 3}, "contrast": {"mean": 40.0, "std": 0.5},
            "labels": {"leaf": {"score_threshold": 0.5, "score_mean": 0.8, "per_frame": 1.5}}}


def call(*arguments: object) -> int:
    return main(["model", "pack", *map(str, arguments)])


def test_the_flatbuffer_is_unchanged_and_the_settings_are_stated(tmp_path: Path) -> None:
    """The bundle begins with the model's own bytes, and its settings read back as they were packed."""
    plain = read_model(tiny_detectors.write(tmp_path))
    path = bundles.pack(tmp_path, "--golden", bundles.picture(tmp_path), "--color", "bgr", "--mean", "1", "2", "3",
                        "--std", "250", "251", "252", "--score-threshold", "0.3", "--iou-threshold", "0.4",
                        "--label-threshold", "sky=0.2")
    packed = read_model(path)
    assert path.read_bytes().startswith(bundle.flatbuffer_of(plain))
    assert packed.flatbuffer_sha256 == plain.flatbuffer_sha256
    spec = resolve(packed, DetectorConfig())
    assert (spec.name, spec.version, spec.decoder, spec.color, spec.resize) == ("garden", "7", "fomo", "bgr", "stretch")
    assert spec.normalization == Normalization((1, 2, 3), (250, 251, 252))
    assert spec.labels == ("background", "leaf", "sky")
    limits = spec.limits
    assert (limits.score_threshold, limits.iou_threshold, dict(limits.labels)) == (0.3, 0.4, {"sky": 0.2})
    assert {spec.decided_by[part] for part in ("name", "decoder", "color", "resize", "labels")} == {"vedette.json"}


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    """The bytes are the same if the model is packed twice, and if the bundle is packed again."""
    once, again = (bundles.pack(tmp_path, out=name) for name in ("one.tflite", "two.tflite"))
    assert once.read_bytes() == again.read_bytes()
    assert call(once, "-o", tmp_path / "three.tflite") == 0
    assert (tmp_path / "three.tflite").read_bytes() == once.read_bytes()


def float_classifier(folder: Path, *arguments: object) -> Path:
    """Pack a model of three shares, red, green and blue, whose input wants numbers."""
    model, labels = folder / "shares.tflite", folder / "colors.txt"
    model.write_bytes(writer.dynamic_output())
    labels.write_text("red\ngreen\nblue\n")
    return bundles.pack(folder, "--labels", labels, "--decoder", "classifier", "--mean", "127.5", "--std", "64",
                        "--golden", bundles.picture(folder), "--score-threshold", "0.2", *arguments, model=model)


def test_a_model_that_others_can_read_gets_metadata(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its graph stays, the golden frames are those of the new flatbuffer, and the metadata says what vedette.json says.
    """
    path = float_classifier(tmp_path)
    assert capsys.readouterr().out.endswith("MediaPipe and the TFLite Task Library can read it\n")
    packed = read_model(path)
    assert bundle.flatbuffer_of(packed).endswith(writer.dynamic_output())
    assert bundle.check_digest(path)
    assert present(golden.read(packed)).flatbuffer_sha256 == packed.flatbuffer_sha256
    assert main(["model", "verify", str(path)]) == 0
    stated = resolve(packed, DetectorConfig())
    others = {name: content for name, content in packed.attachments.items() if name != "vedette.json"}
    read = resolve(replace(packed, attachments=others), DetectorConfig())
    assert (read.normalization, read.labels, read.resize) == (stated.normalization, stated.labels, stated.resize)
    assert {read.decided_by[part] for part in ("normalization", "labels")} == {"TFLite Metadata"}
    assert stated.decided_by["labels"] == "vedette.json"


def test_metadata_is_written_once_and_never_where_it_is_not_wanted(tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle with metadata is packed to the same bytes; without it, it keeps the detections of other runtimes."""
    plain = float_classifier(tmp_path, "--no-metadata")
    assert bundle.flatbuffer_of(read_model(plain)) == writer.dynamic_output()
    document = json.loads(read_model(plain).attachments[golden.EXPECTED])
    for frame in document["frames"].values():
        frame["another-runtime"] = next(iter(frame.values()))
    old = bundles.altered(plain, files={golden.EXPECTED: json.dumps(document).encode()})
    one, two = tmp_path / "one.tflite", tmp_path / "two.tflite"
    assert call(old, "-o", one) == 0
    assert "another-runtime" in present(golden.read(read_model(one))).families
    assert call(one, "-o", two) == 0
    assert one.read_bytes() == two.read_bytes()
    assert "find the TFLite Metadata that was in the file" in capsys.readouterr().out


def test_a_family_that_others_cannot_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says that they cannot, and why."""
    bundles.pack(tmp_path)
    assert "cannot read it: decoder fomo; they know ssd" in capsys.readouterr().out


def test_golden_frames_are_the_pictures_with_their_detections(tmp_path: Path) -> None:
    """The PNG has the pixels of a small picture; a larger one is scaled to twice the input."""
    small, large = bundles.picture(tmp_path, size=(32, 20)), bundles.picture(tmp_path, "street.png", size=(640, 400))
    frames = present(golden.read(read_model(bundles.pack(tmp_path, "--golden", small, large))))
    assert [frame.name for frame in frames.frames] == ["01-garden.png", "02-street.png"]
    assert images.decode(frames.frames[0].png, "").tolist() == images.read(small).tolist()
    assert images.decode(frames.frames[1].png, "").shape == (20, 32, 3)
    for frame in frames.frames:
        for found in frame.expected.values():
            assert {each.label for each in found} == {"leaf", "sky"}


def test_a_baseline_and_the_makers_own_files_are_kept(tmp_path: Path) -> None:
    """A second packing keeps the training baseline and other files of the ZIP."""
    model = tiny_detectors.write(tmp_path, {"LICENSE": b"as you like"})
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({**BASELINE, "ap50": 0.75}))
    first = bundles.pack(tmp_path, "--baseline", baseline, model=model)
    second = bundles.pack(tmp_path, "--score-threshold", "0.6", model=first, out="second.tflite")
    packed = read_model(second)
    assert json.loads(packed.attachments["vedette.json"])["baseline"] == {**BASELINE, "ap50": 0.75}
    assert present(bundle.baseline_of(packed)).labels["leaf"].per_frame == 1.5
    assert packed.attachments["LICENSE"] == b"as you like"


def test_expected_detections_of_another_runtime_are_kept_if_nothing_changes(tmp_path: Path) -> None:
    """Packing with one runtime after the other collects both; with other settings only the new ones remain."""
    path = bundles.pack(tmp_path)
    document = json.loads(read_model(path).attachments[golden.EXPECTED])
    for frame in document["frames"].values():
        frame["another-runtime"] = next(iter(frame.values()))
    both = bundles.altered(path, files={golden.EXPECTED: json.dumps(document).encode()})
    assert call(both, "-o", tmp_path / "same.tflite") == 0
    assert call(both, "--score-threshold", "0.5", "-o", tmp_path / "other.tflite") == 0
    same, other = (golden.read(read_model(tmp_path / name)) for name in ("same.tflite", "other.tflite"))
    assert "another-runtime" in present(same).families
    assert len(present(same).families) == 2
    assert len(present(other).families) == 1
    assert "another-runtime" not in present(other).families


def test_a_warning_names_what_golden_frames_do_not_prove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A square picture gives the same with letterbox and stretch, and a warning says so."""
    bundles.pack(tmp_path, "--golden", bundles.picture(tmp_path, size=(40, 40)))
    assert "also agree with letterbox instead of stretch" in capsys.readouterr().err
    bundles.pack(tmp_path)
    assert "also agree with" not in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--mean", "1"], 64, "mean and std together"), (["--label-threshold", "sky"], 64, "expected LABEL=X"),
    (["--label-threshold", "sky=2"], 64, "from 0 to 1"), (["--labels", "none.txt"], 65, "none.txt"),
    (["--golden", "none.png"], 65, "none.png"), (["--baseline", "none.json"], 64, "none.json"),
    (["--decoder", "ssd"], 65, "does not fit"), (["--decoder", "odd"], 64, "yolov8"),
    (["--score-threshold", "0.999"], 65, "no score exceeds")])
def test_arguments_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str],
                                       code: int, words: str) -> None:
    """The command prints one line, exits with the right code, and writes nothing."""
    out = tmp_path / "out.tflite"
    assert call(tiny_detectors.write(tmp_path), "--version", "1", "-o", out, *arguments) == code
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("content", "words"), [
    ("no json", "expected a JSON file"), ("[1]", "baseline.json: Input should be"),
    ('{"ap50": 0.75}', "baseline.json.frames: Field required"),
    (json.dumps({**BASELINE, "frames": 0}), "baseline.json.frames: "),
    (json.dumps({**BASELINE, "brightness": {"mean": "90", "std": 3}}), "baseline.json.brightness.mean: "),
    (json.dumps({**BASELINE, "contrast": {"mean": 1, "std": float("nan")}}), "baseline.json.contrast.std: "),
    (json.dumps({**BASELINE, "labels": {"leaf": {**BASELINE["labels"]["leaf"], "score_mean": 1.5}}}),
     "baseline.json.labels.leaf.score_mean: ")])
def test_an_invalid_baseline_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str,
                                        words: str) -> None:
    """The exit code is 65, and the error names the wrong key."""
    baseline = tmp_path / "baseline.json"
    baseline.write_text(content)
    assert call(tiny_detectors.write(tmp_path), "--version", "1", "--baseline", baseline, "-o", tmp_path / "o") == 65
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "words"), [
    (["--score-threshold", "0.4"], "measured with a score threshold of 0.5 for 'leaf', but the bundle states 0.4"),
    (["--labels", "labels.txt"], "'leaf', which the model does not have"), (["--score-threshold", "0.5"], None)])
def test_a_baseline_that_no_longer_fits_gives_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch, arguments: list[str],
                                                        words: str | None) -> None:
    """The warning names thresholds or labels that differ from those of the measurement."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("background\ntwig\nsky\n")
    (tmp_path / "baseline.json").write_text(json.dumps(BASELINE))
    bundles.pack(tmp_path, "--baseline", "baseline.json", *arguments)
    told = capsys.readouterr().err
    assert "baseline" not in told if words is None else words in told


def test_a_missing_version_or_label_list_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle needs a version and labels, from the model or from an argument."""
    model = tiny_detectors.write(tmp_path)
    assert call(model, "-o", tmp_path / "out.tflite") == 64
    assert "--version" in capsys.readouterr().err
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(bundle.flatbuffer_of(read_model(model)))
    assert call(bare, "--version", "1", "--decoder", "fomo", "-o", tmp_path / "out.tflite") == 64
    assert "--labels" in capsys.readouterr().err


def test_pictures_in_which_nothing_is_detected_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Golden frames without a detection would prove nothing."""
    dark = bundles.picture(tmp_path)
    assert call(tiny_detectors.write(tmp_path), "--version", "1", "--score-threshold", "0.9", "--golden", dark,
                "-o", tmp_path / "out.tflite") == 65
    assert "detects nothing in any golden frame" in capsys.readouterr().err


def test_a_damaged_or_failing_model_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that fails at invoke and a bundle with a damaged flatbuffer are refused with 65."""
    path = tmp_path / "reshape.tflite"
    path.write_bytes(writer.reshape_by_input())
    assert call(path, "--version", "1", "-o", tmp_path / "out.tflite") == 65
    sound = bundles.pack(tmp_path)
    content = bytearray(sound.read_bytes())
    content[-len(content) + 200] ^= 1
    sound.write_bytes(content)
    assert call(sound, "-o", tmp_path / "out.tflite") == 65
    assert "SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "out.tflite").exists()


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that does not exist gives one line and exit code 64."""
    assert call(tiny_detectors.write(tmp_path), "--version", "1", "-o", tmp_path / "no" / "out.tflite") == 64
    assert "expected a file name in an existing folder" in capsys.readouterr().err
