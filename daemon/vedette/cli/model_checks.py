"""What `vedette doctor` examines of models: the one that is configured, and the runtime by means of the one in the box.

Invariants: a model is read and run in a child process, since OpenCV and the runtime may be broken.
"""

from __future__ import annotations

import json
from pathlib import Path

from vedette.cli.check_result import Check, ChildFailed, Subject, in_child, remedy_for
from vedette.detect.box_model import BOX_MODEL
from vedette.detect.open_model import chosen
from vedette.device.identity import installed_state_path
from vedette.errors import ModelError, VedetteError
from vedette.health.reasons import REASONS
from vedette.store.inbox import MODELS
from vedette.store.model_store import ModelStore

MODEL_TIMEOUT_S = 90.0
"""Two tries of its own child, where the delegate made by hand is one."""


def self_test(subject: Subject) -> Check:
    """Whether the runtime gives right answers: the model in the box must see here what it saw when it was made."""
    return _tried_in_child("self-test", BOX_MODEL, "try_box", str(BOX_MODEL), subject.config.detector.runtime)


def try_box(path: str, runtime: str) -> Check:
    """Hold the model in the box against its golden frames."""
    from vedette.validate.verify import verify
    try:
        found = verify(Path(path), runtime)
    except VedetteError as refusal:
        return Check("self-test", "fail", str(refusal), "see runtime")
    told = {check.name: check for check in found.checks}
    failed = next((check for check in found.checks if check.state != "passed"), None)
    if failed is None and found.proof:
        return Check("self-test", "ok", f"{found.proof.runtime} {found.proof.runtime_version}, golden frames: "
                                        f"{told['golden frames'].words}")
    assert failed  # noqa: S101 - for the type checker: what passed has run
    remedy = ("the runtime gives wrong answers: reinstall it, or set detector.runtime to another"
              if told["digest"].state == "passed" else "install vedette again: the model in the box is not as shipped")
    return Check("self-test", "fail", f"{failed.name}: {failed.words}", remedy)


def model(subject: Subject) -> Check:
    """Whether the model that runs can be read, decoded and run."""
    store = ModelStore(installed_state_path(subject.environ) / MODELS)
    store.read()
    choice = chosen(subject.config, store)
    if choice is None:
        return Check("model", "warn", REASONS["no_model"].meaning, REASONS["no_model"].remedy)
    detector = subject.config.detector.model_copy(update={"model": choice.path})
    return _tried_in_child("model", choice.path, "try_model", detector.model_dump_json(exclude_unset=True))


def _tried_in_child(name: str, path: Path, function: str, *arguments: str) -> Check:
    """Call a function of this module in a fresh process; returns the check it returned."""
    try:
        return Check(**json.loads(in_child("import dataclasses, json; "
                                           f"from vedette.cli.model_checks import {function}; "
                                           f"print(json.dumps(dataclasses.asdict({function}(*{arguments!r}))))",
                                           MODEL_TIMEOUT_S)))
    except ChildFailed as failure:
        return Check(name, "fail", f"{path}: cannot be tried: {failure}",
                     remedy_for(str(failure)) or "see opencv and runtime")


def try_model(keys: str) -> Check:
    """Read, decode and run the model that these keys of `detector` (JSON) name."""
    from vedette.config.models import DetectorConfig
    from vedette.tflite.file import read_model
    from vedette.vision.model_spec import resolve
    from vedette.vision.probe import prove
    detector = DetectorConfig.model_validate_json(keys)
    assert detector.model is not None  # noqa: S101 - for the type checker: model() saw it
    try:
        spec = resolve(read_model(detector.model), detector)
        proof = prove(detector.model, runtime=detector.runtime, threads=detector.threads)
    except ModelError as refusal:
        return Check("model", "fail", str(refusal), f"vedette model inspect {detector.model}")
    except VedetteError as refusal:
        return Check("model", "fail", str(refusal), "see runtime")
    words = (f"{detector.model}: decoder {spec.decoder}, {proof.invoke_ms:.1f} ms on {proof.runtime}, "
             f"{proof.xnnpack_share:.0%} of its nodes on XNNPACK")
    if spec.warnings:
        return Check("model", "warn", f"{words}; {'; '.join(spec.warnings)}", f"vedette model inspect {detector.model}")
    return Check("model", "ok", words)
