"""Campaign `cases`: runs every case of a folder as its README says, and judges whether the right value came.

    .venv/bin/python tests/campaign/cases.py --cases ../shared/cases --state .campaign/cases.json

A case is a folder with inputs and a README of one line: how to run it, and the right value. `CASES` has for each number
how its value is judged, and the tests that build such an input themselves. Each command is the real one, in a copy of
the folder, against a real mosquitto where one is needed. A folder whose number is not in `CASES` is unknown. The table
goes to standard error. Resumable by case. One JSON line; 1 when a value is wrong or unknown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.support.broker.mosquitto import PROGRAM as MOSQUITTO
from tests.support.broker.subscriber import listening
from tests.support.daemon.running import RunningDaemon, environment, vedette
from tests.support.models import constant_heads
from tests.support.network.ports import free_port, listens
from tests.support.present import present
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.detect.box_model import BOX_MODEL

DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "cases"
REAL = DEFAULT.parent / "real"
SSD, PHOTO = REAL / "models" / "ssd_mobilenet_v1_coco_uint8_metadata.tflite", REAL / "images" / "cats_and_dogs.jpg"
SECRET = "S3cret"  # noqa: S105 - as the README has it
HEADS = "tests/vision/test_exporters.py::test_decoded_right_or_refused"


@dataclass(frozen=True)
class Seen:
    """What came of a case, in words, and whether it is the right value. None: something is missing here."""

    words: str
    ok: bool | None


@dataclass(frozen=True)
class Case:
    """`right` is the right value, `run` gets a copy of the folder, `tests` build such an input themselves."""

    right: str
    run: Callable[[Path], Seen]
    tests: tuple[str, ...]


def output(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "XNNPACK delegate" not in line)


def together(each: list[Seen]) -> Seen:
    missing = [seen for seen in each if seen.ok is None]
    return missing[0] if missing else Seen("; ".join(dict.fromkeys(seen.words for seen in each)),
                                           all(seen.ok for seen in each))


def detected(*args: str | Path, folder: Path) -> tuple[int, list[str], str]:
    """Run `vedette detect`; returns the exit code, `label score` of each detection, and everything printed."""
    done = vedette("detect", *args, folder=folder)
    return done.returncode, re.findall(r"^ +(\S+ [\d.]+) at", done.stdout, re.MULTILINE), output(done)


def head(*names: str, box: str | None = None) -> Callable[[Path], Seen]:
    """Judge models: each gives this one box (a label and its score), or is refused in words that name the key."""
    def run(folder: Path) -> Seen:
        picture = folder / "grey.png"
        cv2.imwrite(str(picture), np.full((240, 320, 3), 128, np.uint8))
        return together([one(folder, name, picture) for name in names])

    def one(folder: Path, name: str, picture: Path) -> Seen:
        code, found, words = detected("--model", folder / f"{name}.tflite", "--score-threshold", "0.5", picture,
                                      folder=folder)
        if code == 65 and "no decoder fits" in words and "detector.decoder" in words:
            return Seen("refused in words", ok=True)
        return Seen(f"exit code {code}, {len(found)} boxes: {', '.join(found[:2])}", code == 0 and found == [box])
    return run


def labels(*names: str) -> Callable[[Path], Seen]:
    """Judge label files with a real model on a photo of two cats: read, or refused by name."""
    def run(folder: Path) -> Seen:
        if not SSD.exists():
            return Seen(f"no {SSD.name}", ok=None)
        return together([one(folder, name) for name in names])

    def one(folder: Path, name: str) -> Seen:
        code, found, words = detected("--model", SSD, "--labels", folder / name, "--score-threshold", "0.6", PHOTO,
                                      folder=folder)
        if code == 65 and name in words:
            return Seen("refused by name", ok=True)
        return Seen(", ".join(found) or words, [each.split()[0] for each in found] == ["cat", "cat"])
    return run


def refused(said: dict[str, str]) -> Callable[[Path], Seen]:
    """Judge configurations: `check-config` refuses each in these words."""
    def run(folder: Path) -> Seen:
        return together([one(folder, name, words) for name, words in said.items()])

    def one(folder: Path, name: str, words: str) -> Seen:
        done = vedette("check-config", "--config", folder / name, folder=folder)
        says = words in done.stderr
        return Seen(words if says else output(done), done.returncode == 78 and says)
    return run


def slow_camera(folder: Path) -> Seen:
    port = free_port()
    with subprocess.Popen([sys.executable, folder / "camera.py", str(port)], stdout=subprocess.DEVNULL) as camera:
        try:
            assert wait_until(lambda: listens(port))
            with RunningDaemon(folder, "--source", f"http://127.0.0.1:{port}/slowstart", "--print", "--model",
                               write_model(folder)) as daemon:
                came = daemon.waits_for_results(3, 60)
                return Seen("results" if came else daemon.log, came)
        finally:
            camera.kill()


def film(name: str, frames: int, words: str) -> Callable[[Path], Seen]:
    """Judge a film: it ends by itself with exit code 0, and its end names all frames; a busy machine drops some."""
    def run(folder: Path) -> Seen:
        with RunningDaemon(folder, "--source", folder / name, "--model", write_model(folder), "--print") as daemon:
            if not wait_until(lambda: daemon.process.poll() is not None, 60):
                return Seen(f"no end, {len(daemon.results)} results", ok=False)
            code, results = daemon.ends(), len(daemon.results)
        said = f"{words} played" if words in daemon.log else daemon.log
        return Seen(f"exit code {code}, {results} results, {said}", code == 0 and frames / 2 < results <= frames
                    and words in daemon.log)
    return run


def no_qos_1(folder: Path) -> Seen:
    """Both versions of MQTT, against the broker of m.conf."""
    port = int(re.findall(r"listener (\d+)", (folder / "m.conf").read_text())[0])
    with subprocess.Popen([MOSQUITTO, "-c", folder / "m.conf"], stderr=subprocess.DEVNULL) as broker:
        try:
            assert wait_until(lambda: listens(port))
            return together([one_version(folder, port, version) for version in ("5", "'3.1.1'")])
        finally:
            broker.terminate()


def one_version(folder: Path, port: int, version: str) -> Seen:
    config = folder / "config.yaml"
    config.write_text(f"device: gate\nmqtt: {{port: {port}, protocol: {version}}}\nhealth: {{interval_s: 1}}\n"
                      "publish: {results: all}\ncamera: {source: synthetic}\n")
    with listening(MqttConfig(port=port), "vedette/gate/#") as seen, \
            RunningDaemon(folder, "--config", config) as daemon:
        works = seen.waits_for_results(3, 60) and seen.waits_for_reason("mqtt_limited", 60)
        said = seen.reasons.get("mqtt_limited") or daemon.log
    return Seen(f"results, {said}" if works else said, works and "QoS 1" in said)


def pauses(folder: Path) -> Seen:
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "vedette").symlink_to(Path(sys.executable).parent / "vedette")
    done = subprocess.run(["sh", folder / "run.sh"], capture_output=True, text=True, timeout=600, cwd=folder,
                          env={**environment(folder), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"})
    last = done.stdout.strip().rpartition("\n")[2]
    return Seen(last or output(done), last == "exit code 0")


def encodings(folder: Path) -> Seen:
    """The locale where the machine has it, and the same encoding of the streams where it has not."""
    picture = folder / "K\u00fcche.jpg"
    picture.write_bytes(cv2.imencode(".jpg", np.full((90, 120, 3), 90, np.uint8))[1].tobytes())
    model = constant_heads.write(folder, constant_heads.v8(), files={"labels.txt": b"\n".join([b"bus"] * 80)})
    commands = (("model", "inspect", model), ("fleet", "release", "--help"), ("detect", "--model", BOX_MODEL, picture))
    each = []
    for variables in ({"LC_ALL": "de_DE.ISO-8859-1"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}):
        for args in commands:
            done = subprocess.run([sys.executable, "-m", "vedette", *args], capture_output=True, timeout=240,
                                  cwd=folder, env={**environment(folder), **variables})
            raised = b"Traceback" in done.stderr or done.returncode != 0
            each.append(Seen(done.stderr.decode(errors="replace") if raised else "no traceback", not raised))
    return together(each)


def secrets(folder: Path) -> Seen:
    """Nobody says the secret: `run`, `doctor` and `check-config`, by the command line and by a file."""
    sources = (f"rtsp://127.0.0.1:1/user=admin_password={SECRET}_channel=1_stream=0.sdp",
               f"http://127.0.0.1:1/v.mjpg?user=x&pw={SECRET}")
    config, each = folder / "config.yaml", []
    for source in sources:
        config.write_text(f"camera: {{source: '{source}'}}\nmqtt: {{port: 1}}\n")
        for command in (("run", "--source", source), ("run", "--config", config), ("check-config", "--config", config),
                        ("doctor", "--config", config)):
            done = vedette(*command, folder=folder)
            told = SECRET in done.stdout + done.stderr or any(
                SECRET.encode() in path.read_bytes() for path in (folder / "state").rglob("*") if path.is_file())
            each.append(Seen(output(done) if told else f"exit code {done.returncode}, {SECRET} nowhere", not told))
    return together(each)


def jpeg_without_end(folder: Path) -> Seen:
    code, _, words = detected("--model", BOX_MODEL, folder / "noeoi.jpg", folder=folder)
    return Seen(words.splitlines()[0], "cut off" in words if code else "noeoi.jpg: " in words)


def ten_bits(folder: Path) -> Seen:
    """The detections are those of the same picture in eight bits."""
    raw = folder / "gray10in16.png"
    eight = folder / "eight.png"
    cv2.imwrite(str(eight), (present(cv2.imread(str(raw), cv2.IMREAD_UNCHANGED)) / 4).astype(np.uint8))
    found = [detected("--model", BOX_MODEL, "--score-threshold", "0.1", path, folder=folder)[1]
             for path in (raw, eight)]
    return Seen(f"{len(found[0])} boxes, in eight bits {len(found[1])}", found[0] == found[1] != [])


def rescaling(folder: Path) -> Seen:
    _, found, words = detected("--model", folder / "rescaling.tflite", folder / "red.png", folder=folder)
    return Seen(", ".join(found) or words, found == ["red 0.993"])


CASES = {
    "01": Case("class_16 0.720, or refused in words", head("yolox", box="class_16 0.720"), (HEADS,)),
    "03": Case("class_16 0.800", head("yolov6", box="class_16 0.800"), (HEADS,)),
    "04": Case("refused in words", head("yolov8pose_px", "yolov8pose_unit"), (HEADS,)),
    "06": Case("refused in words", head("yolov8seg_onlydet"), (HEADS,)),
    "07": Case("class_16 0.800, or refused in words", head("nanodet_plus", box="class_16 0.800"), (HEADS,)),
    "09": Case("refused in words", head("segmentation", "depth_map"), (HEADS,)),
    "12": Case("two cats", labels("coco.txt"), (
        "tests/vision/test_label_files.py::test_a_numbered_file_in_the_model_and_in_the_configuration",)),
    "14": Case("two cats, or refused by name", labels("map.pbtxt", "data.yaml", "names.json", "names.csv"), (
        "tests/vision/test_label_files.py::test_forms_with_numbers",
        "tests/vision/test_label_files.py::test_forms_without_numbers",
        "tests/vision/test_label_files.py::test_forms_that_are_refused_by_name")),
    "16": Case("results", slow_camera, (
        "tests/camera/child/test_streams.py::test_a_camera_that_starts_slowly_is_waited_for",)),
    "18": Case("50 frames, exit code 0", film("gap4s.mp4", 50, "its end, 50 frames"), (
        "tests/camera/child/test_films.py::test_a_gap_longer_than_a_stall_is_played",)),
    "20": Case("49 frames, the damage is named", film("damaged.avi", 49, "its end, 49 frames, 1 damaged"), (
        "tests/camera/child/test_films.py::test_damaged_pictures_are_skipped_and_counted",
        "tests/camera/child/test_films.py::test_the_place_of_the_damage_is_named")),
    "21": Case("results, the loss is named", no_qos_1, (
        "tests/mqtt/test_broker_terms.py::test_results_flow_and_the_loss_is_reported",)),
    "23": Case("exit code 0", pauses, (
        "tests/device/test_last_run.py::test_a_pause_of_the_whole_process_is_no_hang",
        "tests/campaign/test_samples.py::test_pauses_of_a_daemon")),
    "24": Case("no traceback", encodings, (
        "tests/cli/test_locale.py::test_a_character_that_the_stream_cannot_say",
        "tests/cli/test_locale.py::test_every_help_can_be_said")),
    "25": Case("the secret nowhere", secrets, (
        "tests/config/test_load.py::test_a_secret_anywhere_in_an_address_is_an_error_that_does_not_repeat_it",
        "tests/net/test_urls.py::test_the_value_of_a_key_that_sounds_like_a_secret_is_found_and_masked")),
    "26": Case("said at once", refused({"a.yaml": "the port belongs in mqtt.port", "b.yaml": "without a scheme",
                                        "c.yaml": "without brackets"}), (
        "tests/config/test_addresses.py::test_a_broker_stands_alone",)),
    "29": Case("looked at, or cut off", jpeg_without_end, (
        "tests/vision/test_images.py::test_a_jpeg_without_its_end_marker_is_used",)),
    "30": Case("the same boxes as in eight bits", ten_bits, (
        "tests/vision/test_images.py::test_sixteen_bits_that_hold_fewer_are_stretched",)),
    "32": Case("said at once", refused({"a.yaml": "is /dev/video0 meant?", "b.yaml": "is synthetic meant?"}), (
        "tests/cli/test_check_config.py::test_a_source_that_is_not_there_is_named",)),
    "34": Case("red 0.993", rescaling, ("tests/vision/test_in_graph.py::test_red_is_red",)),
}


def run(folder: Path) -> Seen:
    """Run the case of a folder in a copy of it."""
    case = CASES.get(folder.name.partition("-")[0])
    if case is None:
        return Seen("not run", ok=False)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name, folder.name)
        shutil.copytree(folder, copy, copy_function=shutil.copyfile)
        copy.chmod(0o755)
        return case.run(copy)


def row(name: str, seen: Seen) -> str:
    """Return a line of the table: case, right value, what was seen, whether it is right, and the tests."""
    case = CASES.get(name.partition("-")[0])
    words = seen.words.replace("\n", " ")[:60]
    names = ", ".join(test.rpartition("::")[2] for test in case.tests) if case else "-"
    state = {True: "ok", False: "WRONG" if case else "unknown", None: "left out"}[seen.ok]
    return f"{name:28} {case.right if case else '-':36} {words:62} {state:9} {names}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=DEFAULT, help="the folder of the cases")
    parser.add_argument("--case", action="append", help="only this number; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/cases.json"))
    args = parser.parse_args(arguments)
    folders = [path for path in sorted(args.cases.glob("*")) if path.is_dir()
               and (args.case is None or path.name.partition("-")[0] in args.case)]
    if not folders:
        print(json.dumps({"campaign": "cases", "skipped": f"no cases: {args.cases}"}))
        return 0
    state = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    done = {name: Seen(**seen) for name, seen in state.items()}
    for folder in folders:
        if folder.name not in done:
            done[folder.name] = run(folder)
            args.state.write_text(json.dumps({name: asdict(seen) for name, seen in done.items()}))
        print(row(folder.name, done[folder.name]), file=sys.stderr, flush=True)
    by_state = {word: [name for name, seen in done.items() if seen.ok is ok]
                for word, ok in (("right", True), ("wrong", False), ("left_out", None))}
    print(json.dumps({"campaign": "cases", "right": len(by_state["right"]), "wrong": by_state["wrong"],
                      "left_out": by_state["left_out"]}))
    return 1 if by_state["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
