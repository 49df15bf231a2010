"""`vedette model inspect`: shows what is in a model file, how it would be run here, and why.

Invariants: the file runs in a child process only; a model that is refused is shown as far as it could be read, and
the refusal is the command's error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import file_path
from vedette.config.models import DetectorConfig
from vedette.errors import ModelUnsupported, VedetteError

if TYPE_CHECKING:
    import argparse

    from vedette.tflite.file import ModelFile
    from vedette.vision.baseline import Baseline
    from vedette.vision.model_spec import ModelSpec
    from vedette.vision.probe import Proof

EXAMPLE = """example:
  vedette model inspect street.tflite

exit codes:
   0  The model can be used.
  65  The model cannot be used.
  69  No TFLite runtime is installed."""

_SHOWN_LABELS = 8


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known about one model, up to the step that refused it."""

    model: ModelFile
    proof: Proof | None
    spec: ModelSpec | None
    refusal: VedetteError | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=file_path, metavar="M", help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what is known. Raises: ModelError, RuntimeMissing, after the part that could be read is printed."""
    inspection = inspect(args.model)
    refusal = inspection.refusal
    if args.json:
        print(json.dumps(_plain(inspection)))
        return refusal.exit_code if refusal else 0
    for line in _lines(inspection):
        print("".join(letter if letter.isprintable() else "?" for letter in line))   # names come out of the file
    if refusal:
        raise refusal
    return 0


def inspect(path: Path) -> Inspection:
    """Read a model, run it in a child, decide how to decode it. Raises: ModelError when it cannot be read."""
    from vedette.tflite.file import read_model
    from vedette.vision.model_spec import resolve
    from vedette.vision.probe import prove
    model = read_model(path)
    proof, spec = None, None
    try:
        proof = prove(path, sha256=model.sha256)
        spec = resolve(model, DetectorConfig(model=path), proof.doubts)
    except VedetteError as error:
        return Inspection(model, proof, spec, error)
    return Inspection(model, proof, spec, None)


def _baseline(model: ModelFile) -> tuple[Baseline | None, tuple[str, ...]]:
    """Return the baseline and the warnings. A bad baseline refuses no model, since only a comparison uses it."""
    from vedette.vision.bundle import baseline_of
    try:
        return baseline_of(model), ()
    except ModelUnsupported as refusal:
        return None, (str(refusal),)


def _plain(inspection: Inspection) -> dict[str, Any]:
    model, proof, spec, refusal = inspection.model, inspection.proof, inspection.spec, inspection.refusal
    baseline, _ = _baseline(model)
    return {
        "file": str(model.path), "size": model.size, "sha256": model.sha256,
        "flatbuffer_sha256": model.flatbuffer_sha256, "description": model.description,
        "inputs": [asdict(tensor) for tensor in (proof or model).inputs],
        "outputs": [asdict(tensor) for tensor in (proof or model).outputs],
        "operations": _operations(model),
        "runtime": proof.runtime if proof else None, "runtime_version": proof.runtime_version if proof else None,
        "runtime_choice": proof.choice or None if proof else None,
        "xnnpack_share": proof.xnnpack_share if proof else None, "invoke_ms": proof.invoke_ms if proof else None,
        "metadata": {name: len(content) for name, content in model.metadata.items()},
        "attachments": {name: len(content) for name, content in model.attachments.items()},
        "name": spec.name if spec else None, "version": spec.version if spec else None,
        "decoder": spec.decoder if spec else None, "decided_by": dict(spec.decided_by) if spec else {},
        "labels": list(spec.labels) if spec else [], "baseline": baseline and baseline.model_dump(),
        "warnings": _warnings(inspection),
        "refused": str(refusal) if refusal else None}


def _lines(inspection: Inspection) -> Iterator[str]:
    model, proof = inspection.model, inspection.proof
    yield f"{model.path}  {model.size:,} bytes"
    yield f"  sha256      {model.sha256}"
    if model.description:
        yield f"  description {model.description}"
    # The shapes after allocation, if known: a detection post-process has its output shapes only then.
    for word, tensors in (("input", (proof or model).inputs), ("output", (proof or model).outputs)):
        for tensor in tensors:
            yield f"  {word:11} {tensor}"
    yield f"  operations  {', '.join(f'{name} {number}' for name, number in _operations(model).items())}"
    for word, contents in (("metadata", model.metadata), ("attachments", model.attachments)):
        if contents:
            yield f"  {word:11} {', '.join(f'{name} ({len(inside):,})' for name, inside in contents.items())}"
    if proof:
        yield (f"  runs        on {proof.runtime} {proof.runtime_version}, {proof.xnnpack_share:.0%} of the graph on "
               f"XNNPACK, invoke {proof.invoke_ms:.1f} ms with {proof.threads} thread"
               f"{f'; {proof.choice}' if proof.choice else ''}")
    if inspection.spec:
        yield from _spec_lines(inspection.spec)
    if baseline := _baseline(model)[0]:
        yield from _baseline_lines(baseline)
    for warning in _warnings(inspection):
        yield f"  warning     {warning}"


def _spec_lines(spec: ModelSpec) -> Iterator[str]:
    yield f"  name        {spec.name}{f', version {spec.version}' if spec.version else ''}"
    shown = ", ".join(spec.labels[:_SHOWN_LABELS]) + (", …" if len(spec.labels) > _SHOWN_LABELS else "")
    yield f"  labels      {len(spec.labels)}: {shown}" if spec.labels else "  labels      none"
    yield f"  decoder     {spec.decoder}"
    for part, why in spec.decided_by.items():
        yield f"    {part:15} {why}"


def _baseline_lines(baseline: Baseline) -> Iterator[str]:
    light = (f"{name} {spread.mean:.1f} ± {spread.std:.1f}"
             for name, spread in (("brightness", baseline.brightness), ("contrast", baseline.contrast)))
    yield f"  baseline    {baseline.frames} frames, {', '.join(light)}"
    if training := baseline.training:
        weights = f"; weights {training.weights_sha256[:12]}…" if training.weights_sha256 else ""
        yield f"  training    {', '.join(f'{name} {value:g}' for name, value in training.metrics.items())}{weights}"
    for label, each in list(baseline.labels.items())[:_SHOWN_LABELS]:
        score = "" if each.score_mean is None else f", mean score {each.score_mean:.3f}"
        yield f"    {label:15} {each.per_frame:.3f} a frame{score} (from {each.score_threshold})"
    if len(baseline.labels) > _SHOWN_LABELS:
        yield "    …"


def _warnings(inspection: Inspection) -> list[str]:
    spec, proof = inspection.spec, inspection.proof
    note = proof.delegate_note if proof else None
    return [*(spec.warnings if spec else ()), *((note,) if note else ()), *_baseline(inspection.model)[1]]


def _operations(model: ModelFile) -> dict[str, int]:
    return dict(Counter(op.name for op in model.ops).most_common())
