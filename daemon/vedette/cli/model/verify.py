"""`vedette model verify`: checks that a bundle is complete and that it yields its golden detections on this device.

Invariants: exit code 0 only if every check was made and passed; a model that is no bundle is checked as far as
possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import file_path
from vedette.cli.detector_arguments import add_runtime_argument
from vedette.errors import ModelError

if TYPE_CHECKING:
    import argparse

    from vedette.validate.verify import Verification

EXAMPLE = """example:
  vedette model verify street.tflite

exit codes:
   0  Every check was made, and every check passed.
  65  A check failed or could not be made. A model without golden frames always ends here:
      the correct detections are not known.
  69  No TFLite runtime is installed."""

_MARKS = {"passed": "ok  ", "failed": "fail", "unchecked": "-   "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=file_path, metavar="M", help="a bundle")
    add_runtime_argument(parser, "auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the checks; returns 0 or 65. Raises: RuntimeMissing."""
    from vedette.validate.verify import verify
    verification = verify(args.model, args.runtime)
    if args.json:
        print(json.dumps(_plain(verification)))
    else:
        for line in _lines(verification):
            print("".join(letter if letter.isprintable() else "?" for letter in line))   # names come out of the file
    return 0 if verification.passed else ModelError.exit_code


def _plain(verification: Verification) -> dict[str, Any]:
    model, spec, proof, judgement = verification.model, verification.spec, verification.proof, verification.judgement
    return {
        "file": str(verification.path), "passed": verification.passed, "cause": verification.cause,
        "checks": [{"name": check.name, "state": check.state, "words": check.message} for check in verification.checks],
        "name": spec.name if spec else None, "version": spec.version if spec else None,
        "sha256": model.sha256 if model else None, "flatbuffer_sha256": model.flatbuffer_sha256 if model else None,
        "runtime": proof.runtime if proof else None, "runtime_version": proof.runtime_version if proof else None,
        "xnnpack_share": proof.xnnpack_share if proof else None, "invoke_ms": verification.invoke_ms,
        "golden": judgement and {
            "agrees": judgement.agrees, "family": judgement.family, "f1": judgement.f1,
            "frames": [{"name": verdict.name, "f1": verdict.agreement.f1, "differences": verdict.differences}
                       for verdict in judgement.verdicts]}}


def _lines(verification: Verification) -> Iterator[str]:
    title = f"{verification.spec.name} {verification.spec.version or ''}".strip() if verification.spec else ""
    yield f"{verification.path}  {title}"
    for check in verification.checks:
        yield f"  {_MARKS[check.state]} {check.name:13} {check.message}"
    if verification.judgement:
        for verdict in verification.judgement.verdicts:
            for difference in verdict.differences:
                yield f"         {verdict.name}: {difference}"
    if verification.invoke_ms is not None:
        yield f"       invoke        {verification.invoke_ms:.2f} ms, median, one thread"
    yield "verified" if verification.passed else "not verified"
