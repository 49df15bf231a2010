"""Polls the update source, chooses the release for this device, and brings it into the store as the candidate.

Invariants: only a background task waits for the network, never this module; what was verified (floors, trusted time) is
saved before anything else uses it; a failure of the source changes only the time of the next poll.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette._lib.background_task import BackgroundTask
from vedette._lib.patience import Patience
from vedette._lib.whole_file import read_whole
from vedette.errors import StateUnusable, UpdateBusy, UpdateRefused, UpdateUnreachable
from vedette.store.state import Installed, Offer, StoreState
from vedette.update import rules
from vedette.update.schedule import PollSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.config.update import UpdateConfig
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.types import ReasonCode
    from vedette.update.activate import ModelActivator
    from vedette.update.source import Trusted, UpdateSource

log = logging.getLogger(__name__)

REFRESH_WITHIN_S = 60.0
"""The bound of a first poll; a download goes on where it ended."""
DOWNLOAD_WITHIN_S = 6 * 3600.0
ROOT_BYTES_MAX = 1 << 20


def fetcher_of(config: Config, store: ModelStore, clock: Clock, *, device: str,
               clock_synced: Callable[[], bool]) -> ReleaseFetcher | None:
    """Return who polls the update source; None where there is no source. Where a model is fixed, it takes no other."""
    update = config.update
    if update.source is None:
        return None
    schedule = PollSchedule(update.poll_minutes * 60, clock.monotonic_ns() / 1e9)
    fetcher = ReleaseFetcher(store, update, schedule, clock, device=device, clock_synced=clock_synced)
    fetcher.takes_models = config.detector.model is None
    return fetcher


class ReleaseFetcher:
    """Update thread only, but for `nudge`, `reasons`, `progress`. The source is opened in the background task.

    `refresh_s`: the bound of the first poll.
    """

    def __init__(self, store: ModelStore, update: UpdateConfig, schedule: PollSchedule, clock: Clock, *, device: str,
                 clock_synced: Callable[[], bool], refresh_s: float = REFRESH_WITHIN_S) -> None:
        self.offered: Collection[str] | None = None
        """Digests that the source names for any device; None until the source has answered."""
        self.takes_models = True
        self.on_targets: Callable[[tuple[Target, ...]], None] | None = None
        """Called with what the source has answered. It may raise StateUnusable."""
        self._reasons: dict[ReasonCode, str] = {}
        self._patience = Patience()
        self._refresh_s = refresh_s
        self._store = store
        self._update = update
        self._schedule = schedule
        self._clock = clock
        self._device = device
        self._clock_synced = clock_synced
        self._poll: BackgroundTask[Trusted] | None = None
        self._reference: datetime | None = None
        self._under_way: tuple[Target, BackgroundTask[Path]] | None = None

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        return self._reasons

    def nudge(self) -> float:
        """Poll soon; returns within how many seconds. Any thread."""
        return self._schedule.nudge(self._now_s())

    @property
    def progress(self) -> float | None:
        """The completed share of a download, 0 to 1; None while there is no download. Any thread."""
        under_way = self._under_way     # once: the update thread may end it meanwhile
        return None if under_way is None else under_way[1].progress or 0.0

    def known(self) -> tuple[Target, ...]:
        """Return the targets of the trusted metadata on this device. Raises: UpdateRefused, StateUnusable."""
        return self._source().known(self._reference_time())

    def step(self, switch: ModelActivator) -> None:
        """Do what is possible without waiting. Raises: StateUnusable, ModelError, RuntimeMissing."""
        try:
            if self._poll is not None and self._poll.done:
                self._decide(switch)
            elif self._under_way is not None and self._under_way[1].done:
                self._stage_download()
            elif self._poll is None and self._under_way is None and self._schedule.is_due(self._now_s()):
                self._start_poll()
        except (UpdateUnreachable, UpdateRefused) as error:
            self.failed(error)
        except StateUnusable:
            self._schedule.failed(self._now_s())    # else a full disk would cause a poll at every step
            raise

    def _start_poll(self) -> None:
        floors, reference = self._store.state.floors, self._reference_time()
        self._reference = reference
        bound_s = self._patience.bound_s(self._refresh_s)

        def refresh(_: BackgroundTask[Trusted]) -> Trusted:
            return open_source(self._update, self._store, bound_s).refresh(floors, reference)
        self._poll = BackgroundTask("fetch", refresh)

    def _source(self) -> UpdateSource:
        return open_source(self._update, self._store)

    def _reference_time(self) -> datetime | None:
        return rules.reference_time(self._clock.utc_now(), synced=self._clock_synced(),
                                    persisted=self._store.state.trusted_time)

    def _decide(self, switch: ModelActivator) -> None:
        assert self._poll is not None  # noqa: S101 - for the type checker: step() has checked
        poll, self._poll = self._poll, None
        trusted = poll.result()
        self._patience.worked()
        self._store.change(self._store.state.trusted(trusted.floors, self._reference)
                           .offered(offer_of(self._chosen(trusted.targets, StoreState()))))
        self._schedule.succeeded(self._now_s())
        self._reasons = {}
        self.offered = {target.sha256 for target in trusted.targets}
        if self.on_targets is not None:
            self.on_targets(trusted.targets)
        if self.takes_models:
            self._stage_or_download(self._chosen(trusted.targets, self._store.state), switch)

    def _chosen(self, targets: tuple[Target, ...], state: StoreState) -> Target | None:
        if not self.takes_models:
            return None
        return rules.choose(targets, device=self._device, receiver=self._update.receiver, state=state,
                            any_bucket=not str(self._update.source).startswith("http"))

    def _stage_or_download(self, target: Target | None, switch: ModelActivator) -> None:
        state = self._store.state
        candidate = state.candidate
        if candidate is not None and candidate.release is not None and (
                target is None or candidate.sha256 != target.sha256):
            self._store.change(state.dropped_candidate("no longer the release for this device", self._clock.utc_now(),
                                                       code="withdrawn", refuse=False))
            state = self._store.state
        if target is None or (state.candidate is not None and state.candidate.release is None):
            return
        model = installed_from(target)
        if state.active is not None and state.active.sha256 == model.sha256:
            if state.active != model:
                self._store.change(state.activated(model, self._clock.utc_now()))
        elif state.previous is not None and state.previous.sha256 == model.sha256:
            switch.activate(model, on_trial=False)      # the active one was withdrawn; this one was good here
        elif state.candidate is not None:
            self._store.change(state.staged(model))
        else:
            self._download(target)

    def _download(self, target: Target) -> None:
        into = self._store.incoming / target.sha256

        def download(job: BackgroundTask[Path]) -> Path:
            def progress(got: int, total: int) -> None:
                job.progress = got / max(1, total)
            self._source().download(target, into, progress=progress, deadline_s=DOWNLOAD_WITHIN_S,
                                         min_free_bytes=int(self._update.min_free_mb * 1e6))
            return into
        log.info("downloading %s %s, release %d", target.release.name, target.release.version, target.release.release)
        self._store.fetching = into
        self._under_way = target, BackgroundTask("fetch", download)

    def _stage_download(self) -> None:
        assert self._under_way is not None  # noqa: S101 - for the type checker: step() has checked
        (target, job), self._under_way = self._under_way, None
        self._store.fetching = None
        self._store.adopt(job.result(), target.sha256)
        self._store.change(self._store.state.staged(installed_from(target)))

    def failed(self, error: UpdateUnreachable | UpdateRefused) -> None:
        """The source could not be asked, or what it gave is refused: poll again later."""
        code: ReasonCode = "update_refused"
        retry_after_s = None
        if isinstance(error, UpdateUnreachable):
            self._patience.ran_out()    # or it is away, and then the bound does not matter
            code, retry_after_s = "update_unreachable", error.retry_after_s
        if self._reasons.get(code) != str(error):
            log.warning("update: %s", error)
        self._reasons = {code: str(error)}
        self._schedule.failed(self._now_s(), retry_after_s, is_busy=isinstance(error, UpdateBusy))

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def installed_from(target: Target) -> Installed:
    """Return a release as the store saves it."""
    release = target.release
    return Installed(sha256=target.sha256, size=target.length, name=release.name, version=release.version,
                     release=release.release, variant=release.variant, shadow=release.shadow, trial=release.trial)


def offer_of(target: Target | None) -> Offer | None:
    """Return a release as the store saves the newest one."""
    if target is None:
        return None
    return Offer(name=target.release.name, version=target.release.version, release=target.release.release,
                 sha256=target.sha256)


def open_source(update: UpdateConfig, store: ModelStore, deadline_s: float = REFRESH_WITHIN_S) -> UpdateSource:
    """Return the configured source; `deadline_s` as there. Raises: UpdateRefused if its root cannot be read."""
    from vedette.update.source import UpdateSource  # late: python-tuf takes memory
    assert update.root is not None  # noqa: S101 - for the type checker: the configuration requires it
    try:
        root = read_whole(update.root, ROOT_BYTES_MAX)
    except OSError as error:
        raise UpdateRefused(f"invalid: update.root {update.root} cannot be read: {error.strerror}") from error
    return UpdateSource(str(update.source), root, store.folder / "metadata", deadline_s=deadline_s,
                        ca_file=update.ca_file, token_file=update.token_file)
