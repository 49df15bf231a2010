"""The checks of `vedette doctor` that run a model: the model of the configuration, and the built-in one as a self-test.

Invariants: a model is read and run in a child process, because OpenCV or the runtime may be broken.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.checks.child import ChildFailed, in_child, remedy_for
from vedette.cli.checks.result import CheckResult, Machine
from vedette.detect.box_model import BOX_MODEL
from vedette.detect.open_model import choose_model
from vedette.device.identity import installed_state_path
from vedette.errors import ModelError, VedetteError
from vedette.health.reasons import REASONS
from vedette.store.inbox import MODELS
from vedette.store.model_store import ModelStore

if TYPE_CHECKING:
    from vedette.config.models import Config

NO_XNNPACK = "Models run more slowly. XNNPACK must be able to read /sys/devices/system/cpu and /proc/cpuinfo."
MODEL_TIMEOUT_S = 120.0
"""The bound of a first try, for three children: one compares the runtimes, one tries the hand-made delegate."""


def self_test(machine: Machine) -> CheckResult:
    """Whether the runtime gives correct results: the built-in model must yield its golden detections here."""
    return _tried_in_child("self-test", BOX_MODEL, "try_box", str(BOX_MODEL), machine.config.detector.runtime)


def try_box(path: str, runtime: str) -> CheckResult:
    """Compare the built-in model with its golden frames."""
    from vedette.validate.verify import verify
    try:
        verification = verify(Path(path), runtime)
    except VedetteError as refusal:
        return CheckResult("self-test", "fail", str(refusal), "See the check `runtime`.")
    by_name = {check.name: check for check in verification.checks}
    failed = next((check for check in verification.checks if check.state != "passed"), None)
    proof = verification.proof
    if failed is None:
        ran = f"{proof.runtime} {proof.runtime_version}" if proof else runtime
        message = f"{ran}, golden frames: {by_name['golden frames'].message}"
        if proof and proof.runtime == "litert" and not proof.xnnpack_share:
            return CheckResult("self-test", "warn", f"{message}; XNNPACK takes no part of the model", NO_XNNPACK)
        return CheckResult("self-test", "ok", message)
    remedy = ("The runtime gives wrong results. Install it again, or set detector.runtime to another one."
              if by_name["digest"].state == "passed" else
              "The built-in model is missing or damaged. Install vedette again.")
    return CheckResult("self-test", "fail", f"{failed.name}: {failed.message}", remedy)


def model(machine: Machine) -> CheckResult:
    """Whether the model that the daemon would use can be read, decoded and run."""
    store = ModelStore(installed_state_path(machine.environ) / MODELS)
    store.read()
    choice = choose_model(machine.config, store)
    if choice is None:
        return CheckResult("model", "warn", REASONS["no_model"].meaning, REASONS["no_model"].remedy)
    detector = machine.config.detector.model_copy(update={"model": choice.path})
    return _tried_in_child("model", choice.path, "try_model", detector.model_dump_json(exclude_unset=True),
                           json.dumps(_labels_of_events(machine.config)))


def _labels_of_events(config: Config) -> list[str]:
    """Return the labels that events, zones and lines name."""
    events = config.events
    places = [zone.labels for zone in config.zones.values()] + [line.labels for line in config.lines.values()]
    shown = events.pictures if isinstance(events.pictures, tuple) else ()
    return [*events.labels, *events.minimum, *shown, *itertools.chain.from_iterable(places)]


def _tried_in_child(name: str, path: Path, function: str, *arguments: str) -> CheckResult:
    """Call a function of this module in a fresh process and return its result."""
    try:
        return CheckResult(**json.loads(in_child(
            f"import dataclasses, json; from vedette.cli.checks.model import {function}; "
            f"print(json.dumps(dataclasses.asdict({function}(*{arguments!r}))))", MODEL_TIMEOUT_S)))
    except ChildFailed as failure:
        return CheckResult(name, "fail", f"{path}: cannot be tried: {failure}",
                           remedy_for(str(failure)) or "See the checks `opencv` and `runtime`.")


def try_model(keys: str, labels: str) -> CheckResult:
    """Read, decode and run the model that these keys of `detector` (JSON) name. It should have these labels (JSON)."""
    from vedette.config.models import DetectorConfig
    from vedette.tflite.file import read_model
    from vedette.vision.model_spec import resolve, unknown_labels
    from vedette.vision.probe import prove
    detector = DetectorConfig.model_validate_json(keys)
    assert detector.model is not None  # noqa: S101 - for the type checker: model() has set it
    try:
        model = read_model(detector.model)
        resolve(model, detector)        # a model that its structure refuses needs no child
        proof = prove(detector.model, runtime=detector.runtime, threads=detector.threads)
        spec = resolve(model, detector, proof.doubts)
    except ModelError as refusal:
        return CheckResult("model", "fail", str(refusal), f"Run `vedette model inspect {detector.model}`.")
    except VedetteError as refusal:
        return CheckResult("model", "fail", str(refusal), "See the check `runtime`.")
    text = (f"{detector.model}: decoder {spec.decoder}, {proof.invoke_ms:.1f} ms on {proof.runtime}, "
            f"{proof.xnnpack_share:.0%} of its nodes on XNNPACK{f'; {proof.choice}' if proof.choice else ''}")
    if warnings := dict.fromkeys((*spec.warnings, *unknown_labels(set(json.loads(labels)), spec.labels))):
        return CheckResult("model", "warn", f"{text}; {'; '.join(warnings)}",
                           f"Run `vedette model inspect {detector.model}`.")
    return CheckResult("model", "ok", text)
