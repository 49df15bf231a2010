"""Makes mutated bundles, each defined by its number: a model, itself mutated or not, with mutated documents in its ZIP.

The models are one of each family of heads, others, and the real ones. The documents are those of bundles and exporters.
So most mutants get as far as somebody who believes them.
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.models import constant_heads as heads_of
from tests.support.models import tiny_detectors, writer
from tests.support.models.exporters import ANCHORS
from tests.support.models.mutation import Base, mutant, real_bases, small_bases
from vedette.tflite import appended_zip

BOX = Path(__file__).resolve().parents[3] / "models" / "vedette-street.tflite"
ODD: tuple[Any, ...] = (None, True, -1, 0, 1e308, 10**30, "", "x" * 300, "\0", "NaN", [], {}, [[[]]], {"a": {}},
                        [0] * 50, float("nan"), float("inf"), "0-1", [1, "a"], {"0": "a", "7": "b"}, {"-1": ""})
EXPORTERS = {
    "metadata.json": {"description": "Ultralytics YOLO11n model trained on coco.yaml", "task": "detect", "stride": 32,
                      "imgsz": [224, 224], "names": {"0": "person", "1": "car"}, "end2end": False},
    "temp_meta.txt": {"task": "classify", "names": {0: "cat", 1: "dog"}, "args": {"half": False, "nms": None}},
}


def bases() -> tuple[list[Base], list[Base]]:
    """Return the generated models with the one in the box at the end, and the real ones."""
    tiny = writer.build(writer.Graph(
        [writer.Tensor((1, 16, 16, 3), "int8", "image", (1 / 256,), (-128,)),
         writer.Tensor((1, 2, 2, 3), "int8", "heat", (1 / 256,), (-128,))],
        [writer.Op("AVERAGE_POOL_2D", (0,), (1,), tiny_detectors.POOL)], (0,), (1,)))
    return [*small_bases(), *_heads(), Base("tiny", tiny), Base("box", BOX.read_bytes())], real_bases()


def _heads() -> list[Base]:
    """Return a model for each family of heads that is not among the others."""
    heads = {"yolov8": [heads_of.v8(2)], "yolov5": [heads_of.v5(1)], "yolox": [heads_of.objectness_rows(2, raw=True)],
             "yolov6": [heads_of.objectness_rows(1, always=True)],
             "yolo_end2end": [heads_of.uniform(0, 1, 1, 300, 6)], "fomo": [heads_of.heat_map(16)],
             "classifier": [heads_of.softmax(heads_of.uniform(0, 4, 1, 10))],
             "anchors": [heads_of.uniform(0, 1, 1, ANCHORS, 4), heads_of.uniform(0, 1, 1, ANCHORS, 2)]}
    with tempfile.TemporaryDirectory() as folder:
        return [Base(name, heads_of.write(Path(folder), *outputs).read_bytes()) for name, outputs in heads.items()]


def bundle_mutant(number: int, small: list[Base], real: list[Base]) -> bytes:
    """Return mutant `number`: one half are mutated anywhere, the other half in their documents, some in both."""
    dice = random.Random(number)
    if dice.random() < 0.5:
        return mutant(number, small, real)
    base = dice.choice(real if real and number % 8 == 0 else [*small, *[small[-1]] * len(small)])
    content = mutant(number, small, real) if dice.random() < 0.1 else base.content
    model = content[:_flatbuffer_end(content)]
    files = {name: make(dice, model) for name, make in DOCUMENTS.items() if dice.random() < 0.5}
    return writer.with_zip(model, files)


def _flatbuffer_end(content: bytes) -> int:
    at = content.find(b"PK\x03\x04")
    return len(content) if at < 0 else at


def _box_document(name: str) -> Any:
    return json.loads(appended_zip.split(BOX.read_bytes())[1][name])


def _settings(dice: random.Random, model: bytes) -> bytes:
    settings = _box_document("vedette.json")
    settings["sha256"] = hashlib.sha256(model).hexdigest()
    settings["baseline"] = dice.choice((settings.get("baseline"), {"frames": 1, "labels": {}}))
    return _written(dice, {key: value for key, value in settings.items() if dice.random() < 0.7})


def _golden(dice: random.Random, model: bytes) -> bytes:
    expected = _box_document("golden/expected.json")
    expected["flatbuffer_sha256"] = hashlib.sha256(model).hexdigest()
    return _written(dice, expected)


def _metadata(dice: random.Random, _: bytes) -> bytes:
    return _written(dice, EXPORTERS["metadata.json"])


def _literal(dice: random.Random, _: bytes) -> bytes:
    changed = _twisted(dice, EXPORTERS["temp_meta.txt"])
    return _damaged(dice, repr(changed).encode())


def _labels(dice: random.Random, _: bytes) -> bytes:
    lines = dice.choice((["background", "cat", "dog"], ["???"] * 4, [f"{number}  dog" for number in range(80)],
                         ["a" * 300], ["x"] * 200_000, ["\r", "\u2028", "\0"], []))
    return _damaged(dice, "\n".join(lines).encode())


def _picture(dice: random.Random, _: bytes) -> bytes:
    return _damaged(dice, appended_zip.split(BOX.read_bytes())[1]["golden/01-street-0.png"])


DOCUMENTS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "vedette.json": _settings, "golden/expected.json": _golden, "metadata.json": _metadata, "temp_meta.txt": _literal,
    "labels.txt": _labels, "golden/01-street-0.png": _picture, "golden/02-street-1.png": _picture}


def _written(dice: random.Random, document: Any) -> bytes:
    """Return a document as JSON, mostly with one or two odd values."""
    for _ in range(dice.choice((0, 1, 1, 2))):
        document = _twisted(dice, document)
    return _damaged(dice, json.dumps(document).encode())


def _twisted(dice: random.Random, value: Any) -> Any:
    """Return a document with one odd value, or one key less, somewhere."""
    if not isinstance(value, (dict, list)) or not value or dice.random() < 0.15:
        return dice.choice(ODD)
    if isinstance(value, list):
        at = dice.randrange(len(value))
        return [*value[:at], _twisted(dice, value[at]), *value[at + 1:]]
    key = dice.choice(list(value))
    if dice.random() < 0.1:
        return {other: item for other, item in value.items() if other != key}
    return {**value, key: _twisted(dice, value[key])}


def _damaged(dice: random.Random, content: bytes) -> bytes:
    """Return the bytes, sometimes cut off or with others among them."""
    if not content or dice.random() < 0.7:
        return content
    at = dice.randrange(len(content))
    return dice.choice((content[:at], content[:at] + bytes([dice.randrange(256)]) + content[at + 1:],
                        content[:at] + b"[" * 3000 + content[at:], content + content))
