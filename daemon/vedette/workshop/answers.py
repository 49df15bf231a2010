"""Steps without a network that runs here: a device that is asked over HTTP, results in files, a model without any.

Invariants: boxes stay as they were given, so that a wrong unit or order shows; an answer that is missing or has another
shape raises, and never becomes an empty result. A picture is sent to a device as PNG, without any loss, where it is
not too large.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vedette.errors import CloudError, SourceInvalid, UsageError
from vedette.fallback.cloud_dialects import DIALECTS
from vedette.net.bearer import authorization
from vedette.net.http_client import HttpClient
from vedette.net.timed_socket import Deadline
from vedette.types import Box, Detection, ModelRef
from vedette.vision import images, jpeg

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.tflite.file import ModelFile
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.step import Kind, Picture

ROUTE = "/v1/detect"
DEADLINE_S = 120.0
_PNG_BYTES, _LONGEST_PX = 7_500_000, 1 << 16
_ANSWER_BYTES = 1 << 20
_RESULT_BYTES = 1 << 28
_JPEG_QUALITY = 95


class _Answers:
    """What steps without a network have in common."""

    kind: Kind
    exact = False
    notes: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    model: ModelFile | None = None
    invoke_ms: float | None = None
    runtime: str | None = None
    ref: ModelRef | None = None

    def first_values(self, _picture: Picture) -> tuple[float, ...]:
        """Return nothing: what the network was given is not known."""
        return ()

    def close(self) -> None:
        """Do nothing: no resource is held."""


class RefusedStep(_Answers):
    """A model that can never detect anything, with the message that says so."""

    kind: Kind = "tflite"

    def __init__(self, model: ModelFile, refusal: str) -> None:
        self.name, self.model, self.refusal = model.path.name, model, refusal

    def __repr__(self) -> str:
        return f"<RefusedStep {self.name}>"

    def detect(self, _picture: Picture) -> tuple[Detection, ...]:
        """Return nothing, as the model would."""
        return ()

    detect_all = detect


class DeviceStep(_Answers):
    """A device's own answers, over the dialect `vedette` of docs/cloud.md. `url` has no path, or that of its route."""

    kind: Kind = "device"

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._url = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}{ROUTE}"
        self.name = url
        self._token_file = token_file
        self._http = HttpClient(idle_s=DEADLINE_S)

    def __repr__(self) -> str:
        return f"<DeviceStep {self.name}>"

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """Return the device's detections, with its own thresholds. Raises: HttpError, CloudError, UsageError."""
        frame = picture.frame
        kind, body = "image/png", images.encode_png(frame.pixels, _LONGEST_PX, compression=1)
        if len(body) > _PNG_BYTES:
            kind, body = "image/jpeg", jpeg.encode(frame.pixels, _JPEG_QUALITY)
        headers = {"Content-Type": kind, "Accept": "application/json", "Idempotency-Key": uuid.uuid4().hex,
                   **self._authorization()}
        with self._http.request(self._url, deadline=Deadline(DEADLINE_S), most_bytes=_ANSWER_BYTES, method="POST",
                                headers=headers, body=body) as answer:
            content = b"".join(answer.chunks())
        try:
            seen = DIALECTS["vedette"].read(content, frame.width, frame.height)
        except CloudError as error:
            raise CloudError(f"{self.name}: {error}") from error
        self.ref = seen.model
        return seen.detections

    detect_all = detect

    def _authorization(self) -> dict[str, str]:
        try:
            return authorization(self._token_file)
        except ValueError as error:
            raise UsageError(f"--token-file: {error}") from error


class ResultsStep(_Answers):
    """Results in files, as `vedette detect --json` prints them: one object in a file, or one on each line of it.

    A result belongs to the picture that its key `file` names, else to the one that is named like its own file. Names
    are compared without folders and endings. Raises: SourceInvalid.
    """

    kind: Kind = "results"

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._detections: dict[str, tuple[Detection, ...]] = {}
        for file in _files(path):
            for document in _documents(file):
                name = _stem(document.get("file"), file)
                if name in self._detections:
                    raise SourceInvalid(f"{file}: two results for {name}; expected one for each picture")
                self._detections[name] = tuple(_detections(document, file))
                self.ref = self.ref or _model(document.get("model"))

    def __repr__(self) -> str:
        return f"<ResultsStep {self._path} {len(self._detections)} results>"

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """Return the detections of a picture. Raises: SourceInvalid (there is no result for it)."""
        try:
            return self._detections[picture.name]
        except KeyError:
            raise SourceInvalid(f"{self._path}: no result for {picture.file or picture.name}; expected "
                                f"{picture.name}.json, or a line with its name as `file`") from None

    detect_all = detect


def is_results(path: Path) -> bool:
    """Return whether a path is a folder or a file of results."""
    return path.is_dir() or path.suffix.lower() in {".json", ".jsonl", ".ndjson"}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if is_results(file) and file.is_file())
    if not found:
        raise SourceInvalid(f"{path}: no .json file in it; expected a folder of results, one for each picture")
    return found


def _documents(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a file: the whole file is one, or each line of it."""
    try:
        if file.stat().st_size > _RESULT_BYTES:
            raise SourceInvalid(f"{file}: larger than {_RESULT_BYTES >> 20} MB; expected results")
        text = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SourceInvalid(f"{file}: {getattr(error, 'strerror', None) or error}; expected results as JSON") from error
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [_line(line, number, file) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except RecursionError as error:
        raise SourceInvalid(f"{file}: too deeply nested; expected results as JSON") from error
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("detections"), list):
            raise SourceInvalid(f'{file}: expected objects with a list "detections", as `vedette detect --json` prints')
        yield document


def _line(line: str, number: int, file: Path) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceInvalid(f"{file}: line {number}: {error}; expected one result in the file, or one on each line"
                            ) from error


def _stem(stated: object, file: Path) -> str:
    return PurePosixPath(stated).stem if isinstance(stated, str) else file.stem


def _detections(document: Mapping[str, Any], file: Path) -> Iterator[Detection]:
    for number, each in enumerate(document["detections"]):
        try:
            class_id, score = each.get("class_id"), each.get("score")
            found = Detection(str(each["label"]), None if class_id is None else int(class_id),
                              None if score is None else _finite(score), Box(*map(_finite, each["box"])))
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
            raise SourceInvalid(f"{file}: detections[{number}]: {error}; expected label, box (four numbers), class_id "
                                "and score") from error
        yield found


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _model(stated: object) -> ModelRef | None:
    if not isinstance(stated, dict) or not all(isinstance(stated.get(key), str) for key in ("name", "sha256")):
        return None
    version = stated.get("version")
    return ModelRef(stated["name"], version if isinstance(version, str) else None, stated["sha256"])
