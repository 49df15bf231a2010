"""Proves a candidate before it becomes the active model: the probe in a child, then the shadow if it is required.

Invariants: one child serves the probe and every comparison; a model is refused for its own faults, never because the
device had no time, no memory or no runtime: that is tried again later, after pauses that grow. What may be the fault of
a busy moment is refused only until a higher release. Update thread only, but for `progress` and `interrupt`.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from vedette._lib.patience import Patience
from vedette.errors import (
    ModelError,
    ModelTimedOut,
    ModelTooSlow,
    ModelUnproven,
    RuntimeMissing,
    StateUnusable,
    UpdateRefused,
    VedetteError,
)
from vedette.update import rules
from vedette.update.shadow import Shadow
from vedette.vision.model_child import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.detect.open_model import DetectorOpener
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.state import Installed
    from vedette.types import UpdateCode
    from vedette.update.activate import ModelActivator
    from vedette.update.shadow import OnComparison
    from vedette.validate.candidate import Candidate, ProbeReport
    from vedette.validate.frame_tap import FrameTap

log = logging.getLogger(__name__)

RETRY_AFTER_S = 30.0
"""The pause after a problem that may pass: a probe without time or memory, a disk that cannot be written. A probe's
pause doubles with each try, up to RETRY_MOST_S."""
RETRY_MOST_S = 3600.0
UNPROVEN_MAX = 2
"""After so many probes without memory, health says so, and a file without a release is dropped."""


class Candidates:
    """Opens the child that runs a model as this device would. Any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._patience: dict[str, Patience] = {}

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration, in the next child."""
        self._config = config

    @property
    def settings(self) -> str:
        """The settings and the region of the next child. A child that has others must not be compared any more."""
        config = self._config
        return f"{config.detector.model_dump_json(exclude_unset=True)} {config.camera.roi}"

    def patience(self, sha256: str) -> Patience:
        """Return how patient the next child of this digest is."""
        return self._patience.setdefault(sha256, Patience())

    @property
    def longest_s(self) -> float:
        """The longest bound that the next request to a child has, in seconds."""
        return max((each.bound_s(TIMEOUT_S) for each in self._patience.values()), default=TIMEOUT_S)

    def open(self, path: Path, sha256: str) -> Candidate:
        """Return the child for the file of this digest; it starts with its first request."""
        from vedette.validate.candidate import COMPARE_TIMEOUT_S, Candidate  # late: it takes memory
        patience = self.patience(sha256)
        return Candidate(path, self._config.detector, sha256=sha256, roi=self._config.camera.roi,
                         probe_timeout_s=patience.bound_s(TIMEOUT_S),
                         compare_timeout_s=patience.bound_s(COMPARE_TIMEOUT_S))

    def probe(self, candidate: Candidate) -> ProbeReport:
        """Probe a candidate, and check its latency and labels. Raises: ModelError, RuntimeMissing, UpdateRefused."""
        config = self._config
        report = candidate.probe()
        rules.admit_latency(report.name, report.invoke_ms, config.update.latency_budget_ms)
        rules.admit_labels(report.labels, config.detector.labels)
        return report


class Prover:
    """`on_comparison` publishes what a candidate detected in shadow; `governed` returns whether the rate is limited."""

    def __init__(self, store: ModelStore, opener: DetectorOpener, switch: ModelActivator, candidates: Candidates,
                 tap: FrameTap, clock: Clock, *, on_comparison: OnComparison, governed: Callable[[], bool]) -> None:
        self._store = store
        self._opener = opener
        self._switch = switch
        self._candidates = candidates
        self._tap = tap
        self._clock = clock
        self._on_comparison = on_comparison
        self._governed = governed
        self._interrupted = False
        self._shadow: Shadow | None = None
        self._in_shadow = contextlib.ExitStack()
        """What ends with the shadow: the count of a file that may kill the daemon."""
        self._settings = ""
        self._probed: Candidate | None = None
        self._tried = ""
        self._failures: list[type[VedetteError]] = []
        """What the tries of the candidate `_tried` ended with."""
        self._prove_ns = 0

    @property
    def progress(self) -> float | None:
        """The gathered share of the shadow's evidence, 0 to 1; None while nothing is in shadow. Any thread."""
        shadow = self._shadow
        return shadow.progress if shadow else None

    @property
    def longest_s(self) -> float:
        """As `Candidates.longest_s`."""
        return self._candidates.longest_s

    def interrupt(self) -> None:
        """End a running probe or comparison: the daemon stops. It does not count against the model. Any thread."""
        self._interrupted = True
        for running in (self._probed, self._shadow):
            if running is not None:
                running.interrupt()

    def probe(self, path: Path, sha256: str) -> ProbeReport:
        """Probe a file in a child of its own, for an operator who waits: a try that ran out of time gets more at once.

        Raises: ModelError, RuntimeMissing, UpdateRefused.
        """
        return self._candidates.patience(sha256).until_success(
            TIMEOUT_S, lambda _: self._probe_once(path, sha256), ModelTimedOut, stopping=lambda: self._interrupted)

    def _probe_once(self, path: Path, sha256: str) -> ProbeReport:
        self._switch.announce_opening()
        with self._switch.probe_count.counted(sha256), self._candidates.open(path, sha256) as candidate:
            return self._probe(candidate)

    def _probe(self, candidate: Candidate) -> ProbeReport:
        self._probed = candidate
        if self._interrupted:
            candidate.interrupt()
        try:
            report = self._candidates.probe(candidate)
        finally:
            self._probed = None
        self._opener.remember(report.proof)
        return report

    def step(self) -> None:
        """Do the next step with the candidate, if there is one. Raises: StateUnusable."""
        model = self._store.state.candidate
        if self._shadow is not None and (self._shadow.model != model or self._settings != self._candidates.settings):
            self.close()        # after a reload it begins anew: the active model has the new settings already
        if model is None or self._clock.monotonic_ns() < self._prove_ns:
            return
        if self._shadow is None and model.shadow is not None and self._switch.is_opening:
            return              # without the active model it could not be compared
        try:
            self._advance(model)
        except StateUnusable:
            self._prove_ns = self._clock.monotonic_ns() + int(RETRY_AFTER_S * 1e9)
            raise

    def _advance(self, model: Installed) -> None:
        try:
            if self._shadow is None:
                self._begin(model)
            else:
                self._compare(self._shadow)
        except (ModelUnproven, RuntimeMissing) as error:
            self.close()
            if self._interrupted:
                return
            if isinstance(error, ModelTimedOut):
                self._candidates.patience(model.sha256).ran_out()
            log.warning("%s", error)
            self._retry_or_drop(model, error)
        except (ModelError, UpdateRefused) as error:
            self._drop(str(error), rules.code_of(error), lasting=not isinstance(error, ModelTooSlow | UpdateRefused))

    def _retry_or_drop(self, model: Installed, error: ModelUnproven | RuntimeMissing) -> None:
        """After a try that did not prove the model: try again later what is slow or a release, drop another file."""
        if self._tried != model.sha256:
            self._tried, self._failures = model.sha256, []
        self._failures.append(type(error))
        tries = len(self._failures)
        pause_s = min(RETRY_MOST_S, RETRY_AFTER_S * 2.0 ** min(tries - 1, 30))
        self._prove_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        is_slow = isinstance(error, ModelTimedOut)
        if tries < UNPROVEN_MAX and not is_slow:
            return
        if RuntimeMissing in self._failures or (model.release is None and not is_slow):
            self._drop(str(error), rules.code_of(error), refuse=False)
        else:
            self._store.change(self._store.state.postponed_candidate(f"tried again later: {error}",
                                                                     self._clock.utc_now()))

    def _begin(self, model: Installed) -> None:
        if why := self._switch.probe_count.refusal(model.sha256, model.release):
            self._drop(why, "died", lasting=False)
            return
        self._settings = self._candidates.settings
        with contextlib.ExitStack() as begun:
            begun.enter_context(self._switch.probe_count.counted(model.sha256, model.release))
            candidate = self._candidates.open(self._store.verified(model.sha256), model.sha256)
            begun.callback(candidate.close)
            self._probe(candidate)
            if model.shadow is not None and self._switch.running is not None:
                self._shadow = Shadow(model, model.shadow, candidate, self._tap, self._clock, self._on_comparison,
                                      governed=self._governed)
                self._in_shadow = begun.pop_all()
                return
        self._activate(model)

    def _compare(self, shadow: Shadow) -> None:
        if self._interrupted:
            shadow.interrupt()
        verdict = shadow.step()
        if verdict.ruling == "accepted":
            log.info("%s: %s", shadow.model.name, verdict.message)
            self.close()
            self._activate(shadow.model)
        elif verdict.ruling == "refused":
            self._drop(verdict.message, verdict.code, lasting=verdict.lasting)

    def _activate(self, model: Installed) -> None:
        self._tried = ""
        self._candidates.patience(model.sha256).worked()
        self._switch.activate(model)

    def _drop(self, why: str, code: UpdateCode, *, refuse: bool = True, lasting: bool = True) -> None:
        self.close()
        self._tried = ""
        self._store.change(self._store.state.dropped_candidate(
            why, self._clock.utc_now(), code=code, refuse=refuse, lasting=lasting))
        log.warning("the new model is not activated: %s", why)
        self._store.clean_up()

    def close(self) -> None:
        """End the shadow. Safe to call twice."""
        if self._shadow is not None:
            self._shadow.close()
            self._shadow = None
            self._in_shadow.close()
