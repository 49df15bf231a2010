"""A network of any kind becomes a float `.tflite`: the right tool converts it, in an environment of its own.

Invariants: the same input, tool versions and options are converted once; the result is in the cache, whole or not at
all. The result is a model that the device reads: no custom operation. Every error of a tool is one message, with its
log's path; where an operation does not fit, the message names it, its place and the way out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vedette.errors import ModelError, ModelUnsupported, ToolMissing
from vedette.tflite.file import read_model
from vedette.vision import bundle
from vedette.vision.hints import BUNDLE
from vedette.vision.normalization import normalization_of
from vedette.workshop import environments
from vedette.workshop.inputs import Kind, Source
from vedette.workshop.once import DIGITS, cache, made
from vedette.workshop.tool import Progress, reason, run
from vedette.workshop.unfit import rules, unfit_in
from vedette.workshop.unfit.tflite import cut_off

SCRIPTS = Path(__file__).with_name("tools")
_SAID = "vedette: "
_METADATA = "metadata.json"


@dataclass(frozen=True, slots=True)
class Route:
    """The environment and the program that convert a kind of network."""

    tool: str
    script: str


ROUTES: Mapping[Kind, Route] = {
    "onnx": Route("onnx2tf", "from_onnx.py"),
    "exported-program": Route("litert-torch", "from_torch.py"),
    "module": Route("litert-torch", "from_torch.py"),
    "ultralytics": Route("ultralytics", "from_ultralytics.py"),
    "saved-model": Route("tensorflow", "from_tensorflow.py"),
    "keras": Route("tensorflow", "from_tensorflow.py"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the network does not state.

    `size` is WIDTHxHEIGHT, for an input of an open size. `cut` names the tensors at which it is to end: an ONNX
    network or a `.tflite`.
    """

    size: str | None = None
    cut: tuple[str, ...] = ()


def to_float(source: Source, progress: Progress, options: Options | None = None) -> Path:
    """Return the float `.tflite` of a network: the file itself where it is one, else in the cache.

    Raises: ModelUnsupported (INT8 already, or the tool cannot convert it), ToolMissing.
    """
    options = options or Options()
    if options.cut and source.kind not in ("onnx", "tflite"):
        raise ModelUnsupported(f"{source.path}: only in its source can it be cut off; expected an ONNX or .tflite file")
    _check_fits(source, options, progress)
    if source.kind == "tflite":
        _check_is_float(source.path)
        if not options.cut:
            return source.path
    how, make = _way(source, options, progress)
    made_from = (source.sha256, *how, options.size, options.cut)
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:DIGITS]
    stem = source.path.resolve().stem
    home = cache() / "converted"
    try:
        folder = made(home / f"{stem}-{digest}", f"{stem}.tflite", make,
                      partial(progress, f"another command converts {stem}; waiting for it"))
    except OSError as error:
        raise ToolMissing(f"{source.path}: cannot be converted in {home}: {error.strerror or error}") from error
    progress(f"{source.path.name}: its float model is {folder / f'{stem}.tflite'}")
    return folder / f"{stem}.tflite"


def _way(source: Source, options: Options, progress: Progress) -> tuple[tuple[str, ...], Callable[[Path], None]]:
    """Return what converts, for the digest, and the function that does."""
    if source.kind == "tflite":
        return (), partial(_cut_off, source, options)
    route = ROUTES[source.kind]
    script = SCRIPTS / route.script
    return ((environments.digest(route.tool), script.read_text()),
            partial(_convert, source, (route.tool, script), options, progress))


def _cut_off(source: Source, options: Options, folder: Path) -> None:
    content = cut_off(source.path.read_bytes(), options.cut)
    (folder / f"{source.path.resolve().stem}.tflite").write_bytes(content)


def dressed(model: Path, made: Path) -> bytes:
    """Return a float model with the settings of the bundle that was made of it, so that only the numbers differ.

    The outputs of the bundle may be others, so its decoder is not taken. Raises: ModelError.
    """
    floating, bundled = read_model(model), read_model(made)
    stated = json.loads(bundled.attachments[BUNDLE])
    covered = normalization_of(bundled.inputs[0])
    if covered is not None:
        stated["normalization"] = {"mean": covered.mean, "std": covered.std}
    for key in ("decoder", "baseline"):
        stated.pop(key, None)
    stated["sha256"] = floating.flatbuffer_sha256
    return bundle.assemble(bundle.flatbuffer_of(floating), {
        BUNDLE: json.dumps(stated).encode(), bundle.LABELS: bundled.attachments[bundle.LABELS]})


def _check_fits(source: Source, options: Options, progress: Progress) -> None:
    """Refuse a network before minutes of work, if the device would refuse what becomes of it."""
    solved = rules.SIZE.why if options.size else None
    found = [each for each in unfit_in(source.path)
             if each.why != solved and not (each.cut and set(each.cut) <= set(options.cut))]
    for each in found:
        if not each.refused:
            progress(f"warning: {each}")
    if refused := [str(each) for each in found if each.refused]:
        raise ModelUnsupported("\n".join((f"{source.path}: the device cannot run all of it", *refused)))


def _check_is_float(path: Path) -> None:
    model = read_model(path, pictures=False)
    if any(tensor.dtype in ("int8", "uint8") for tensor in (*model.inputs, *model.outputs)):
        raise ModelUnsupported(f"{path}: INT8 already, so there is nothing to convert; `vedette model inspect` says "
                               "how it runs, and `vedette model pack` makes a bundle of it")


def _convert(source: Source, how: tuple[str, Path], options: Options, progress: Progress, folder: Path) -> None:
    tool, script = how
    python = environments.python_of(tool, progress)
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    began = time.monotonic()
    progress(f"{tool}: converting {source.path.name}; the log is {log}")
    more = (options.size or "-", source.kind, *options.cut)
    code = run([python, "-I", script, source.path.resolve(), folder, *more], log, _Said(tool, progress), folder)
    stem = source.path.resolve().stem
    try:
        if code != 0:
            raise ModelUnsupported(reason(log).removeprefix(_SAID))
        content = (folder / "float.tflite").read_bytes()
        (folder / "float.tflite").unlink()
        stated = folder / _METADATA
        (folder / f"{stem}.tflite").write_bytes(
            bundle.assemble(content, {_METADATA: stated.read_bytes()}) if stated.exists() else content)
        read_model(folder / f"{stem}.tflite")
    except (ModelError, OSError) as error:
        text = str(error).removeprefix(f"{folder}/")
        written = folder / f"{stem}.tflite"
        unfit = [str(each) for each in unfit_in(written) if each.refused] if written.exists() else []
        raise ModelUnsupported("\n".join((
            f"{source.path}: {tool} cannot convert it: {text}; the log is {log}", *unfit))) from error
    progress(f"{tool}: converted in {time.monotonic() - began:.0f} s")


class _Said:
    """Passes on the lines that a script means for a person."""

    def __init__(self, tool: str, progress: Callable[[str], None]) -> None:
        self._tool, self._progress = tool, progress

    def __call__(self, line: str) -> None:
        if line.startswith(_SAID):
            self._progress(f"{self._tool}: {line.removeprefix(_SAID)}")
