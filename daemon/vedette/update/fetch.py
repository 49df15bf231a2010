"""Polls the update source, chooses the release for this device, and brings it into the store as the candidate.

Invariants: only a background task waits for the network, never this module; what was verified (floors, trusted time) is
kept before anything else relies on it; a failure of the source changes only the time of the next poll.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette._lib.background_task import BackgroundTask
from vedette._lib.whole_file import read_whole
from vedette.errors import StateUnusable, UpdateRefused, UpdateUnreachable
from vedette.store.state import Installed, Offer, StoreState
from vedette.update import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from vedette.config.models import UpdateConfig
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.types import ReasonCode
    from vedette.update.activate import ModelActivator
    from vedette.update.schedule import PollSchedule
    from vedette.update.source import Trusted, UpdateSource

log = logging.getLogger(__name__)

DOWNLOAD_WITHIN_S = 6 * 3600.0
ROOT_BYTES_MAX = 1 << 20


class ReleaseFetcher:
    """Update thread only, but for `nudge`, `reasons`, `progress`. The source is opened in the background task."""

    def __init__(self, store: ModelStore, update: UpdateConfig, schedule: PollSchedule, clock: Clock, *, device: str,
                 clock_synced: Callable[[], bool]) -> None:
        self.offered: Collection[str] | None = None
        """Digests that the source names for any device; None until it has answered."""
        self._reasons: dict[ReasonCode, str] = {}
        self._store = store
        self._update = update
        self._schedule = schedule
        self._clock = clock
        self._device = device
        self._clock_synced = clock_synced
        self._asking: BackgroundTask[Trusted] | None = None
        self._reference: datetime | None = None
        self._fetching: tuple[Target, BackgroundTask[Path]] | None = None

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        return self._reasons

    def nudge(self) -> float:
        """Poll soon; returns within how many seconds. Any thread."""
        return self._schedule.nudge(self._now_s())

    @property
    def progress(self) -> float | None:
        """How much of a download is there, 0 to 1; None while there is none."""
        return None if self._fetching is None else self._fetching[1].progress or 0.0

    def known(self) -> tuple[Target, ...]:
        """What trusted metadata on this device names already. Raises: UpdateRefused, StateUnusable."""
        return self._source().known(self._reference_time())

    def step(self, switch: ModelActivator) -> None:
        """Go on as far as that is possible without waiting. Raises: StateUnusable, ModelError, RuntimeMissing."""
        try:
            if self._asking is not None and self._asking.done:
                self._decide(switch)
            elif self._fetching is not None and self._fetching[1].done:
                self._arrive()
            elif self._asking is None and self._fetching is None and self._schedule.is_due(self._now_s()):
                self._ask()
        except UpdateUnreachable as error:
            self._failed("update_unreachable", error, error.retry_after_s)
        except UpdateRefused as error:
            self._failed("update_refused", error)
        except StateUnusable:
            self._schedule.failed(self._now_s())    # else it would be asked again at once, by every full disk
            raise

    def _ask(self) -> None:
        floors, reference = self._store.state.floors, self._reference_time()
        self._reference = reference

        def refresh(_: BackgroundTask[Trusted]) -> Trusted:
            return self._source().refresh(floors, reference)
        self._asking = BackgroundTask("fetch", refresh)

    def _source(self) -> UpdateSource:
        return open_source(self._update, self._store)

    def _reference_time(self) -> datetime | None:
        return rules.reference_time(self._clock.utc_now(), synced=self._clock_synced(),
                                    persisted=self._store.state.trusted_time)

    def _decide(self, switch: ModelActivator) -> None:
        assert self._asking is not None  # noqa: S101 - for the type checker: step() has looked
        asking, self._asking = self._asking, None
        trusted = asking.result()
        self._store.change(self._store.state.trusted(trusted.floors, self._reference)
                           .offered(_offer(self._chosen(trusted.targets, StoreState()))))
        self._schedule.succeeded(self._now_s())
        self._reasons = {}
        self.offered = {target.sha256 for target in trusted.targets}
        self._go_to(self._chosen(trusted.targets, self._store.state), switch)

    def _chosen(self, targets: tuple[Target, ...], state: StoreState) -> Target | None:
        return rules.choose(targets, device=self._device, device_class=self._update.device_class,
                            channel=self._update.channel, state=state,
                            any_bucket=not str(self._update.source).startswith("http"))

    def _go_to(self, target: Target | None, switch: ModelActivator) -> None:
        state = self._store.state
        candidate = state.candidate
        if candidate is not None and candidate.release is not None and (
                target is None or candidate.sha256 != target.sha256):
            self._store.change(state.dropped_candidate("no longer the release for this device", self._clock.utc_now(),
                                                       refuse=False))
            state = self._store.state
        if target is None or (state.candidate is not None and state.candidate.release is None):
            return
        model = installed_from(target)
        if state.active is not None and state.active.sha256 == model.sha256:
            if state.active != model:
                self._store.change(state.activated(model, self._clock.utc_now()))
        elif state.previous is not None and state.previous.sha256 == model.sha256:
            switch.activate(model, on_trial=False)      # withdrawn: back to what was good here
        elif state.candidate is not None:
            self._store.change(state.staged(model))
        else:
            self._fetch(target)

    def _fetch(self, target: Target) -> None:
        into = self._store.incoming / target.sha256

        def download(job: BackgroundTask[Path]) -> Path:
            def progress(got: int, total: int) -> None:
                job.progress = got / max(1, total)
            self._source().download(target, into, progress=progress, deadline_s=DOWNLOAD_WITHIN_S,
                                         min_free_bytes=int(self._update.min_free_mb * 1e6))
            return into
        log.info("fetching %s %s, release %d", target.release.name, target.release.version, target.release.release)
        self._store.fetching = into
        self._fetching = target, BackgroundTask("fetch", download)

    def _arrive(self) -> None:
        assert self._fetching is not None  # noqa: S101 - for the type checker: step() has looked
        (target, job), self._fetching = self._fetching, None
        self._store.fetching = None
        self._store.adopt(job.result(), target.sha256)
        self._store.change(self._store.state.staged(installed_from(target)))

    def _failed(self, code: ReasonCode, error: Exception, retry_after_s: float | None = None) -> None:
        if self._reasons.get(code) != str(error):
            log.warning("update: %s", error)
        self._reasons = {code: str(error)}
        self._schedule.failed(self._now_s(), retry_after_s)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def installed_from(target: Target) -> Installed:
    """Return what the store keeps of a release."""
    release = target.release
    return Installed(sha256=target.sha256, size=target.length, name=release.name, version=release.version,
                     release=release.release, variant=release.variant, shadow=release.shadow, trial=release.trial)


def _offer(target: Target | None) -> Offer | None:
    if target is None:
        return None
    return Offer(name=target.release.name, version=target.release.version, release=target.release.release)


def open_source(update: UpdateConfig, store: ModelStore) -> UpdateSource:
    """Return the configured source. Raises: UpdateRefused for a root that cannot be read."""
    from vedette.update.source import UpdateSource  # late: python-tuf takes memory
    assert update.root is not None  # noqa: S101 - for the type checker: the configuration requires it
    try:
        root = read_whole(update.root, ROOT_BYTES_MAX)
    except OSError as error:
        raise UpdateRefused(f"invalid: update.root {update.root} cannot be read: {error.strerror}") from error
    return UpdateSource(str(update.source), root, store.folder / "metadata", ca_file=update.ca_file)
