"""`vedette model verify`: is a bundle whole, and does it see here what it must see?

Invariants: exit code 0 only when every check was made and passed; a model that is no bundle is told as far as it goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.errors import ModelError

if TYPE_CHECKING:
    import argparse

    from vedette.validate.verify import Verification

EXAMPLE = """example:
  vedette model verify street.tflite

exit codes: 0 when every check was made and passed; 65 otherwise, also for a model that is no bundle or has no golden
frames, since nothing then says what is right; 69 without a runtime"""

_MARKS = {"passed": "ok  ", "failed": "fail", "unchecked": "-   "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="M", help="a bundle")
    parser.add_argument("--runtime", choices=("auto", "litert", "tflite-runtime"), default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what was found; returns 0 or 65. Raises: RuntimeMissing."""
    from vedette.validate.verify import verify
    found = verify(args.model, args.runtime)
    if args.json:
        print(json.dumps(_plain(found)))
    else:
        for line in _lines(found):
            print("".join(letter if letter.isprintable() else "?" for letter in line))   # names come out of the file
    return 0 if found.passed else ModelError.exit_code


def _plain(found: Verification) -> dict[str, Any]:
    model, spec, proof, judgement = found.model, found.spec, found.proof, found.judgement
    return {
        "file": str(found.path), "passed": found.passed, "cause": found.cause,
        "checks": [{"name": check.name, "state": check.state, "words": check.words} for check in found.checks],
        "name": spec.name if spec else None, "version": spec.version if spec else None,
        "sha256": model.sha256 if model else None, "flatbuffer_sha256": model.flatbuffer_sha256 if model else None,
        "runtime": proof.runtime if proof else None, "runtime_version": proof.runtime_version if proof else None,
        "xnnpack_share": proof.xnnpack_share if proof else None, "invoke_ms": found.invoke_ms,
        "golden": judgement and {
            "agrees": judgement.agrees, "family": judgement.family, "f1": judgement.f1,
            "frames": [{"name": verdict.name, "f1": verdict.agreement.f1, "differences": verdict.differences}
                       for verdict in judgement.verdicts]}}


def _lines(found: Verification) -> Iterator[str]:
    title = f"{found.spec.name} {found.spec.version or ''}".strip() if found.spec else ""
    yield f"{found.path}  {title}"
    for check in found.checks:
        yield f"  {_MARKS[check.state]} {check.name:13} {check.words}"
    if found.judgement:
        for verdict in found.judgement.verdicts:
            for difference in verdict.differences:
                yield f"         {verdict.name}: {difference}"
    if found.invoke_ms is not None:
        yield f"       invoke        {found.invoke_ms:.2f} ms, median, one thread"
    yield "verified" if found.passed else "not verified"
