"""The `update` thread: requests, new releases, the candidate's proof, the active model's trial, one step after another.

Invariants: a step never waits for the network; a step that cannot write changes nothing, shows in health and is tried
again.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vedette._lib.worker import Worker
from vedette.errors import (
    ModelError,
    ModelUnproven,
    RuntimeMissing,
    StateUnusable,
    UpdateRefused,
    UpdateUnreachable,
    VedetteError,
)
from vedette.store.inbox import Inbox, Request, Response
from vedette.update import rules
from vedette.update.operator import OperatorActions
from vedette.update.status import model_status, update_reasons

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.types import ModelStatus, ReasonCode
    from vedette.update.activate import ModelActivator
    from vedette.update.configuration import ConfigurationUpdater
    from vedette.update.configuration_trial import ConfigurationTrial
    from vedette.update.fetch import ReleaseFetcher
    from vedette.update.prove import Prover
    from vedette.update.trial import TrialMonitor

log = logging.getLogger(__name__)

TICK_S = 0.25
IDLE_WITHIN_S = 10.0
STEP_WITHIN_S = 60.0
"""An SD card that cleans up may delay a write by so long."""
PROOF_WITHIN_S = 150.0
"""A proof takes this and four times the bound of a probe: the choice of the runtime, two loads, the golden frames."""
RETRY_AFTER_S = 30.0
"""The pause after an error of a model."""
DISK_RETRY_AFTER_S = 3.0
"""The pause after the store could not be written."""

Answered = Callable[[str, VedetteError | None], None]
"""Called once with the outcome of a request: a message, or the error. On the update thread, or while it is stopped."""


class Updater:
    """A ports.ReasonSource. `fetcher` is None where there is no update source."""

    def __init__(self, config: Config, store: ModelStore, clock: Clock, *, switch: ModelActivator, prover: Prover,
                 trial: TrialMonitor, fetcher: ReleaseFetcher | None,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("update", self._run, on_end=on_end)
        self._pinned = config.detector.model
        self._receiver = config.update.receiver if config.update.source else None
        self._store = store
        self._clock = clock
        self._switch = switch
        self._prover = prover
        self._trial = trial
        self._fetcher = fetcher
        self.configurations: ConfigurationUpdater | None = None
        """Set it before the start, where there is an update source."""
        self._inbox = Inbox(store.folder)
        self._actions = OperatorActions(store, config, switch, prove=prover.probe, known=self._known)
        switch.before_opening = self._expect_opening
        self._requests: queue.SimpleQueue[Answered] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._trouble: str | None = None

    def __repr__(self) -> str:
        return f"<Updater {self._store!r}>"

    def start(self) -> None:
        """Start the thread."""
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End the thread, and answer the requests that it leaves; returns whether it has ended. Safe to call twice."""
        self.worker.stopping.set()
        self._wake.set()
        self._prover.interrupt()
        self._trial.interrupt()
        if self.configurations is not None:
            self.configurations.interrupt()
        has_ended = self.worker.stop(timeout_s)
        with contextlib.suppress(queue.Empty):
            while True:
                self._requests.get_nowait()("", UpdateRefused("the daemon stops"))
        return has_ended

    def nudge(self) -> float:
        """Poll the update source soon; returns within how many seconds. Any thread. Raises: UpdateRefused."""
        if self._fetcher is None:
            rules.admit_unpinned(self._pinned)
            raise UpdateRefused("no source: update.source is not set")
        return self._fetcher.nudge()

    def request_roll_back(self, answered: Answered) -> None:
        """Go back to the previous model by an operator's decision. Any thread."""
        self._requests.put(answered)
        self._wake.set()

    def status(self) -> ModelStatus:
        """Return which model and which configuration run, and which model comes. Main thread."""
        fetcher, configurations = self._fetcher, self.configurations
        return model_status(self._switch.facts, self._store.state, pinned=self._pinned is not None,
                            downloaded=fetcher.progress if fetcher else None, compared=self._prover.progress,
                            receiver=self._receiver, configuration=configurations.status() if configurations else None)

    def compares(self) -> bool:
        """Whether something is in shadow or on trial, so that the detector needs frames. Any thread."""
        on_trial = self._pinned is None and self._store.state.trial is not None
        return on_trial or self._prover.progress is not None or self._is_configuration_on_trial

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        fetcher, trouble = self._fetcher, self._trouble
        reasons = self.configurations.reasons() if self.configurations else {}
        if trouble is not None:
            reasons["store_failed"] = trouble
        return reasons | update_reasons(self._store.state, fetcher.reasons() if fetcher else {},
                                        fetcher.offered if fetcher else None)

    def ended(self, *, cleanly: bool) -> None:
        """Record a clean end of the daemon, after everything has stopped. Main thread."""
        if cleanly and not self.worker.alive:
            try:
                self._store.change(self._store.state.ended_cleanly())
                if self.configurations is not None:
                    self.configurations.ended_cleanly()
            except StateUnusable as error:
                log.warning("the clean stop is not recorded: %s", error)

    def _run(self, worker: Worker) -> None:
        try:
            while not worker.stopping.is_set():
                state = self._store.state
                is_proving = state.candidate is not None or state.trial is not None
                worker.beat(self._prove_within_s if is_proving else STEP_WITHIN_S)
                pause_s = self._step()
                worker.beat(pause_s + IDLE_WITHIN_S)
                self._wake.wait(pause_s)
                self._wake.clear()
        finally:
            self._prover.close()
            trials: list[TrialMonitor | ConfigurationTrial] = [self._trial]
            if self.configurations is not None:
                trials.append(self.configurations.trial)
            for trial in trials:
                try:
                    trial.save()
                except StateUnusable as error:
                    log.warning("the trial's evidence is not saved: %s", error)
                trial.close()

    def _step(self) -> float:
        """Do what can be done now; returns the seconds until the next step."""
        try:
            self._serve_request()
            self._switch.match()
            if self._fetcher is not None:
                self._fetcher.step(self._switch)
            if not self._is_configuration_on_trial:
                self._prover.step()
            self._advance_trial()
            if self._fetcher is not None:
                self._step_configuration(self._fetcher)
            self._store.retry_save()
        except StateUnusable as error:
            if str(error) != self._trouble:
                log.error("%s", error)
            self._trouble = str(error)
            return DISK_RETRY_AFTER_S
        except (ModelError, RuntimeMissing) as error:
            log.error("%s", error)
            return RETRY_AFTER_S
        self._trouble = None
        return TICK_S

    def _step_configuration(self, fetcher: ReleaseFetcher) -> None:
        """Do the next step with the signed configuration. Raises: StateUnusable."""
        if self.configurations is None:
            return
        free = self._prover.progress is None and (self._pinned is not None or self._store.state.trial is None)
        try:
            self.configurations.step(free=free)
        except (UpdateUnreachable, UpdateRefused) as error:
            fetcher.failed(error)

    @property
    def _is_configuration_on_trial(self) -> bool:
        return self.configurations is not None and self.configurations.is_on_trial

    def _serve_request(self) -> None:
        """Serve one request, if there is one."""
        request = self._inbox.next_request(self._store.state)
        if request is not None:
            answer = self._answer(request)
            if answer is not None:
                self._inbox.respond(answer)
        elif not self._requests.empty():
            answered = self._requests.get()
            try:
                answered(self._actions.roll_back(), None)
            except VedetteError as error:
                answered("", error)

    def _answer(self, request: Request) -> Response | None:
        """Serve it; None if the stop ended the probe: then the next daemon serves it, or the command itself."""
        made = self._inbox.made_before_start(request.id)
        when = f" (asked for at {made:%Y-%m-%d %H:%M} UTC, before this start)" if made else ""
        log.info("%s requested: %s%s", request.kind, request.sha256 or "the previous model", when)
        self._expect_opening()
        try:
            message, code = self._act(request), 0
        except VedetteError as error:
            if isinstance(error, ModelUnproven) and self.worker.stopping.is_set():
                return None
            message, code = str(error), error.exit_code
            log.warning("%s refused: %s", request.kind, error)
        if made:
            self._report_late(request, f"{message}{when}", ok=code == 0)
        return Response(id=request.id, ok=code == 0, words=f"{message}{when}", exit_code=code, state=self._store.state)

    def _report_late(self, request: Request, message: str, *, ok: bool) -> None:
        """Report the outcome of a request whose command has ended. Raises: StateUnusable."""
        state = self._store.state
        sha256 = request.sha256 or (state.active.sha256 if state.active else None)
        if sha256 is not None:
            self._store.change(state.with_request_outcome(request.kind, sha256, message, self._clock.utc_now(), ok=ok))
            log.warning("%s %s: %s", request.kind, sha256[:12], message)

    def _act(self, request: Request) -> str:
        if request.kind == "rollback":
            return self._actions.roll_back(note=request.id)
        if request.sha256 is None or (request.kind == "install" and request.upload is None):
            raise UpdateRefused(f"invalid request: {request.kind} without a digest or a file")
        if request.kind == "activate":
            return self._actions.activate(request.sha256, force=request.force, note=request.id)
        return self._actions.install(self._store.incoming / str(request.upload), request.sha256, force=request.force,
                                  note=request.id)

    def _advance_trial(self) -> None:
        """Continue the trial of the active model, if it is on trial."""
        verdict = self._trial.step(compare=self._prover.progress is None)
        if verdict is None or verdict.ruling == "undecided":
            return
        if verdict.ruling == "good":
            self._store.change(self._store.state.marked_good(self._clock.utc_now(), verdict.message))
            log.info("marked good: %s", verdict.message)
            self._store.clean_up()
        else:
            self._switch.roll_back(verdict.message, verdict.code, lasting=verdict.lasting)

    def _expect_opening(self) -> None:
        self.worker.beat(self._prove_within_s)

    @property
    def _prove_within_s(self) -> float:
        return PROOF_WITHIN_S + 4 * self._prover.longest_s

    def _known(self) -> tuple[Target, ...]:
        return self._fetcher.known() if self._fetcher else ()
