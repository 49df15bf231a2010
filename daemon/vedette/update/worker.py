"""The `update` thread: requests, arrivals, the candidate's proof, the active model's trial, one step after another.

Invariants: a step waits for no network; what a step cannot write changes nothing, shows in health and is tried again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette._lib.worker import Worker
from vedette.errors import ModelError, ModelUnproven, RuntimeMissing, StateUnusable, UpdateRefused, VedetteError
from vedette.store.inbox import Inbox, Request, Response
from vedette.update import rules
from vedette.update.operator import OperatorActions
from vedette.update.status import model_status, update_reasons

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.types import DetectionResult, DetectorFacts, ModelStatus
    from vedette.update.activate import ModelActivator
    from vedette.update.fetch import ReleaseFetcher
    from vedette.update.prove import Prover
    from vedette.update.trial import TrialMonitor
    from vedette.validate.frame_tap import FrameTap

log = logging.getLogger(__name__)

TICK_S = 0.25
IDLE_WITHIN_S = 10.0
STEP_WITHIN_S = 60.0
"""A card that cleans up may hold a write for so long."""
PROOF_WITHIN_S = 240.0
"""A probe on a slow board, three times over."""
AGAIN_S = 30.0
"""After something about a model failed."""
DISK_AGAIN_S = 3.0
"""After the store could not be written."""

Answered = Callable[[str, VedetteError | None], None]
"""Told, on the update thread, what became of a request: in words, or the error."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the thread works with."""

    store: ModelStore
    switch: ModelActivator
    proving: Prover
    watch: TrialMonitor
    tap: FrameTap
    arrivals: ReleaseFetcher | None


class Updater:
    """`config` is asked anew each time, since a reload may change it."""

    def __init__(self, parts: Parts, config: Callable[[], Config], clock: Clock, *,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("update", self._run, on_end=on_end)
        self._parts = parts
        self._store = parts.store
        self._config = config
        self._clock = clock
        self._inbox = Inbox(parts.store.folder)
        self._acts = OperatorActions(parts.store, config(), parts.switch, prove=parts.proving.probe, known=self._known)
        self._asked: queue.SimpleQueue[Answered] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._trouble: str | None = None

    def __repr__(self) -> str:
        return f"<Updater {self._store!r}>"

    def start(self) -> None:
        """Start the thread."""
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; returns whether it has ended. Safe to call twice."""
        self.worker.stopping.set()
        self._wake.set()
        self._parts.proving.interrupt()
        self._parts.watch.interrupt()
        return self.worker.stop(timeout_s)

    def hear(self, result: DetectionResult) -> None:
        """Listen to the pipeline. Detect thread."""
        self._parts.watch(result)
        self._parts.tap(result)

    def nudge(self) -> float:
        """Ask the update source soon; returns within how many seconds. Any thread. Raises: UpdateRefused."""
        rules.admit_unpinned(self._config().detector.model)
        if self._parts.arrivals is None:
            raise UpdateRefused("no source: update.source is not set")
        return self._parts.arrivals.nudge()

    def ask_roll_back(self, answered: Answered) -> None:
        """Have the previous model run, as an operator's decision. Any thread."""
        self._asked.put(answered)
        self._wake.set()

    def status(self, facts: DetectorFacts | None) -> ModelStatus:
        """Say where models stand while this one runs. Any thread."""
        state, arrivals = self._store.state, self._parts.arrivals
        reasons = update_reasons(state, arrivals.reasons if arrivals else {}, arrivals.offered if arrivals else None,
                                 self._trouble or self._store.trouble)
        return model_status(facts, state, pinned=self._config().detector.model is not None,
                            downloaded=arrivals.progress if arrivals else None,
                            compared=self._parts.proving.progress, reasons=reasons)

    def ended(self, *, cleanly: bool) -> None:
        """Note how the daemon ended, after everything has stopped. Main thread."""
        if cleanly and not self.worker.alive:
            try:
                self._store.change(self._store.state.ended_cleanly())
            except StateUnusable as error:
                log.warning("the clean stop is not noted: %s", error)

    def _run(self, worker: Worker) -> None:
        try:
            while not worker.stopping.is_set():
                state = self._store.state
                is_proving = state.candidate is not None or state.trial is not None
                worker.beat(PROOF_WITHIN_S if is_proving else STEP_WITHIN_S)
                pause_s = self._step()
                worker.beat(pause_s + IDLE_WITHIN_S)
                self._wake.wait(pause_s)
                self._wake.clear()
        finally:
            self._parts.proving.close()
            try:
                self._parts.watch.keep()
            except StateUnusable as error:
                log.warning("the trial's evidence is not kept: %s", error)
            self._parts.watch.close()

    def _step(self) -> float:
        """Do what can be done now; returns after how many seconds to look again."""
        parts = self._parts
        try:
            self._serve()
            parts.switch.match()
            if parts.arrivals is not None:
                parts.arrivals.step(parts.switch)
            parts.proving.step()
            self._try()
            self._store.retry_save()
        except StateUnusable as error:
            if str(error) != self._trouble:
                log.error("%s", error)
            self._trouble = str(error)
            return DISK_AGAIN_S
        except (ModelError, RuntimeMissing) as error:
            log.error("%s", error)
            return AGAIN_S
        self._trouble = None
        return TICK_S

    def _serve(self) -> None:
        """Do one thing that was asked for."""
        request = self._inbox.next_request(self._store.state)
        if request is not None:
            answer = self._answer(request)
            if answer is not None:
                self._inbox.respond(answer)
        elif not self._asked.empty():
            answered = self._asked.get()
            try:
                answered(self._acts.roll_back(), None)
            except VedetteError as error:
                answered("", error)

    def _answer(self, request: Request) -> Response | None:
        """Do what is asked; None where stopping ended the probe: then the next daemon does it, or who asked."""
        log.info("%s asked for: %s", request.kind, request.sha256 or "the previous model")
        self.worker.beat(PROOF_WITHIN_S)
        try:
            words = self._act(request)
        except VedetteError as error:
            if isinstance(error, ModelUnproven) and self.worker.stopping.is_set():
                return None
            log.warning("%s refused: %s", request.kind, error)
            return Response(id=request.id, ok=False, words=str(error), exit_code=error.exit_code,
                            state=self._store.state)
        return Response(id=request.id, ok=True, words=words, state=self._store.state)

    def _act(self, request: Request) -> str:
        if request.kind == "rollback":
            return self._acts.roll_back(note=request.id)
        if request.sha256 is None or (request.kind == "install" and request.upload is None):
            raise UpdateRefused(f"not understood: {request.kind} without a digest or a file")
        if request.kind == "activate":
            return self._acts.activate(request.sha256, force=request.force, note=request.id)
        return self._acts.install(self._store.incoming / str(request.upload), request.sha256, force=request.force,
                                  note=request.id)

    def _try(self) -> None:
        """Go on with the active model's trial, if it is on trial."""
        verdict = self._parts.watch.step(compare=self._parts.proving.progress is None)
        if verdict is None or verdict.ruling == "undecided":
            return
        if verdict.ruling == "good":
            self._store.change(self._store.state.marked_good(self._clock.utc_now(), verdict.words))
            log.info("marked good: %s", verdict.words)
            self._store.clean_up()
        else:
            self._parts.switch.roll_back(verdict.words)

    def _known(self) -> tuple[Target, ...]:
        return self._parts.arrivals.known() if self._parts.arrivals else ()
