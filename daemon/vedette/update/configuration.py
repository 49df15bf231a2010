"""What a device does about a signed configuration: it chooses, downloads and checks one, and tries it.

Invariants: a configuration that cannot be used changes nothing; the store names one durably before the main thread
takes it; none begins while a model is in shadow or on trial, so that neither is blamed for the other; nothing here
waits for the network. Update thread only, but for `status`, `reasons`, `is_on_trial` and `interrupt`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette._lib.background_task import BackgroundTask
from vedette.config.signed import MAX_BYTES, parse_signed
from vedette.errors import ConfigError
from vedette.store.configurations import ConfigurationsState, InstalledConfiguration
from vedette.types import ConfigurationStatus
from vedette.update import rules
from vedette.update.fetch import offer_of
from vedette.update.status import failure_of, last_update_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.config.update import UpdateConfig
    from vedette.ports import Clock
    from vedette.store.configurations import ConfigurationStore
    from vedette.store.release import Target
    from vedette.types import ConfigurationState, ReasonCode, RunIdentity
    from vedette.update.configuration_trial import ConfigurationTrial
    from vedette.update.live_configuration import LiveConfiguration

log = logging.getLogger(__name__)


class ConfigurationUpdater:
    """A ports.ReasonSource. `download` returns the verified content of a target, and may take long.

    It raises UpdateUnreachable, UpdateRefused, StoreFull or StateUnusable.
    """

    def __init__(self, store: ConfigurationStore, update: UpdateConfig, clock: Clock, identity: RunIdentity, *,
                 live: LiveConfiguration, trial: ConfigurationTrial, download: Callable[[Target], bytes]) -> None:
        self.trial = trial
        self._store = store
        self._update = update
        self._clock = clock
        self._identity = identity
        self._live = live
        self._download = download
        self._targets: tuple[Target, ...] = ()
        self._is_news = False
        self._offered: set[str] | None = None
        self._under_way: tuple[Target, BackgroundTask[bytes]] | None = None
        self._waits: str | None = None
        self._shown: ConfigurationState = "good"

    def __repr__(self) -> str:
        return f"<ConfigurationUpdater {self._live!r} {self._store!r}>"

    @property
    def is_on_trial(self) -> bool:
        """Whether a configuration is on trial. Any thread."""
        return self._store.state.trial is not None

    def status(self) -> ConfigurationStatus:
        """Return which configuration runs, and how the last one ended. One thread."""
        state, running = self._store.state, self._live.running
        if self._live.is_matched:
            running = state.active      # the release may have changed since, for the same content
            self._shown = "trial" if state.trial is not None else "good"
        last = last_update_of(state)
        if running is None:
            return ConfigurationStatus(last_update=last)
        return ConfigurationStatus(self._shown, running.release, running.version, running.sha256, last)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        reasons = self._store.problems()
        failure = self._waits or failure_of(self._store.state, self._offered)
        return reasons if failure is None else {"configuration_failed": failure, **reasons}

    def offer(self, targets: tuple[Target, ...]) -> None:
        """Take what the source has answered. Raises: StateUnusable."""
        self._targets, self._is_news, self._waits = targets, True, None
        state = self._store.state
        latest = state.offered(offer_of(self._chosen(ConfigurationsState())))
        if latest != state or self._store.damage is not None:
            self._store.change(latest)
        self._offered = {target.sha256 for target in targets}

    def step(self, *, free: bool) -> None:
        """Do what is possible without waiting. `free`: no model is in shadow or on trial.

        Raises: UpdateUnreachable, UpdateRefused (the download failed), StateUnusable.
        """
        if self._live.match():
            self._advance_trial(compare=free)       # first: going back never waits for the disk
        if self._live.is_matched:
            self._take_news(free=free)
        self._store.retry_save()

    def interrupt(self) -> None:
        """End what takes long, because the daemon stops. Any thread."""
        self.trial.interrupt()

    def ended_cleanly(self) -> None:
        """Record a clean end of the daemon. Raises: StateUnusable."""
        self._store.change(self._store.state.ended_cleanly())

    def _chosen(self, state: ConfigurationsState) -> Target | None:
        return rules.choose(self._targets, device=self._identity.device, receiver=self._update.receiver, state=state,
                            any_bucket=not str(self._update.source).startswith("http"), kind="configuration")

    def _take_news(self, *, free: bool) -> None:
        if self._under_way is not None:
            if self._under_way[1].done:
                self._receive()
        elif self._is_news:
            self._decide(free=free)

    def _decide(self, *, free: bool) -> None:
        """Compare what the source offers with what is in effect."""
        state, target, now = self._store.state, self._chosen(self._store.state), self._clock.utc_now()
        if target is None:
            if state.active is not None and self._chosen(ConfigurationsState()) is None:
                self._store.change(state.withdrawn(now))
                log.info("signed configuration withdrawn: no release is for this device")
        elif state.active is not None and state.active.sha256 == target.sha256:
            again = InstalledConfiguration.of(target, state.active.values)
            if again != state.active:
                self._store.change(state.activated(again, now))
        elif state.previous is not None and state.previous.sha256 == target.sha256:
            self._use(InstalledConfiguration.of(target, state.previous.values), on_trial=False)
        elif target.length > MAX_BYTES:
            self._refuse(InstalledConfiguration.of(target, {}), f"larger than {MAX_BYTES // 1024} kB")
        elif not free:
            return      # it is news until it can begin
        else:
            self._fetch(target)
        self._is_news = False

    def _fetch(self, target: Target) -> None:
        def fetch(_: BackgroundTask[bytes]) -> bytes:
            return self._download(target)
        log.info("downloading configuration %s, release %d", target.release.version, target.release.release)
        self._under_way = target, BackgroundTask("fetch", fetch)

    def _receive(self) -> None:
        """Check what was downloaded, and use it on trial."""
        assert self._under_way is not None  # noqa: S101 - for the type checker: step() has checked
        (target, task), self._under_way = self._under_way, None
        content = task.result()
        try:
            values = parse_signed(content)
        except ConfigError as error:
            self._refuse(InstalledConfiguration.of(target, {}), error.problems[0])
            return
        self._use(InstalledConfiguration.of(target, values), on_trial=True)

    def _use(self, wanted: InstalledConfiguration, *, on_trial: bool) -> None:
        """Check it together with the device's own keys, and use it from now on."""
        try:
            problem = self._live.problem_with(wanted.signed)
        except ConfigError as error:
            self._waits = f"{wanted.name} {wanted.version} waits: the device's own keys are wrong: {error.problems[0]}"
            log.warning("%s", self._waits)
            return
        if problem is not None:
            self._refuse(wanted, problem)
            return
        state = self._store.state.activated(wanted, self._clock.utc_now(), on_trial=on_trial)
        self._store.change(state.started(self._identity.boot_id))
        log.info("configuration %s, release %s, is in effect%s", wanted.version, wanted.release,
                 ", on trial" if on_trial else "")
        self._live.match()

    def _refuse(self, wanted: InstalledConfiguration, why: str) -> None:
        self._store.change(self._store.state.refused_unused(wanted, why, self._clock.utc_now()))
        log.warning("configuration %s refused: %s", wanted.version, why)

    def _advance_trial(self, *, compare: bool) -> None:
        """Continue the trial, if there is one and its configuration runs."""
        verdict = self.trial.step(compare=compare) if self._live.is_matched else None
        if verdict is None or verdict.ruling == "undecided":
            return
        now = self._clock.utc_now()
        if verdict.ruling == "good":
            self._store.change(self._store.state.marked_good(now, verdict.message))
            log.info("configuration marked good: %s", verdict.message)
        else:
            self._store.roll_back(verdict.message, now, verdict.code)
            self._live.match()
