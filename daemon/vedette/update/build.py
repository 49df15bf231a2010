"""Builds the parts that decide which model runs, and which signed configuration is in effect.

Invariant: without an update source, nothing is built that follows signed configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vedette.store.incoming import write_error
from vedette.update.activate import ModelActivator
from vedette.update.configuration import ConfigurationUpdater
from vedette.update.configuration_trial import ConfigurationTrial
from vedette.update.fetch import fetcher_of, open_source
from vedette.update.live_configuration import LiveConfiguration
from vedette.update.old_configuration import OldConfiguration
from vedette.update.prove import Candidates, Prover
from vedette.update.shadow import ShadowPublisher
from vedette.update.trial import TrialMonitor
from vedette.update.worker import Updater
from vedette.validate.frame_tap import FrameTap

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette._lib.worker import Worker
    from vedette.config.models import Config
    from vedette.config.reload import Reloader
    from vedette.config.update import UpdateConfig
    from vedette.detect.open_model import DetectorOpener
    from vedette.detect.pipeline import Pipeline
    from vedette.ports import Clock, Publisher
    from vedette.store.configurations import ConfigurationStore
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.types import RunIdentity
    from vedette.update.live_configuration import Load

DOWNLOAD_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of the daemon that updates need. The last four are asked on any thread.

    `call` runs something on the main thread soon. `throttled`: whether the firmware limits the processor, `governed`:
    whether the governor limits the rate.
    """

    opener: DetectorOpener
    pipeline: Pipeline
    reloader: Reloader
    load: Load
    call: Callable[[Callable[[], None]], None]
    clock_synced: Callable[[], bool]
    throttled: Callable[[], bool]
    governed: Callable[[], bool]


class Updates:
    """`updater` has the thread, `candidates` takes reloads. `kept`: the signed configurations of this device."""

    def __init__(self, config: Config, models: ModelStore, kept: ConfigurationStore, clock: Clock,
                 identity: RunIdentity, publisher: Publisher, around: Surroundings, *,
                 on_end: Callable[[Worker], None]) -> None:
        self.candidates = Candidates(config)
        opener, pipeline, tap = around.opener, around.pipeline, FrameTap()
        switch = ModelActivator(models, opener, pipeline, clock, boot_id=identity.boot_id)
        prover = Prover(models, opener, switch, self.candidates, tap, clock,
                        on_comparison=ShadowPublisher(publisher, identity, around.clock_synced),
                        governed=around.governed)
        trial = TrialMonitor(models, tap, clock, self.candidates, pipeline, throttled=around.throttled,
                             governed=around.governed)
        fetcher = fetcher_of(config, models, clock, device=identity.device, clock_synced=around.clock_synced)
        self.updater = Updater(config, models, clock, switch=switch, prover=prover, trial=trial, fetcher=fetcher,
                               on_end=on_end)
        if fetcher is not None:
            configurations = _configurations(config.update, models, kept, clock, identity, tap, around)
            self.updater.configurations, fetcher.on_targets = configurations, configurations.offer
        pipeline.wants_all.append(self.updater.compares)
        pipeline.subscribe(trial.on_result)
        pipeline.subscribe(tap)


def _configurations(update: UpdateConfig, models: ModelStore, kept: ConfigurationStore, clock: Clock,
                    identity: RunIdentity, tap: FrameTap, around: Surroundings) -> ConfigurationUpdater:
    def before() -> Config:
        previous = kept.state.previous
        return around.load(previous.signed if previous else None).config
    old = OldConfiguration(tap, clock, around.opener, around.pipeline, around.reloader, before)
    trial = ConfigurationTrial(kept, clock, around.pipeline, old, throttled=around.throttled, governed=around.governed)
    live = LiveConfiguration(kept, around.reloader, around.load, clock, around.call)
    return ConfigurationUpdater(kept, update, clock, identity, live=live, trial=trial,
                                download=partial(downloaded, update, models))


def downloaded(update: UpdateConfig, models: ModelStore, target: Target) -> bytes:
    """Return the verified content of a small target. Raises: as `UpdateSource.download`."""
    def progress(_got: int, _total: int) -> None:
        """It is too small for that."""
    try:
        with TemporaryDirectory(prefix="vedette-") as work:
            into = Path(work, target.sha256)
            open_source(update, models).download(target, into, progress=progress, deadline_s=DOWNLOAD_WITHIN_S)
            return into.read_bytes()
    except OSError as error:
        raise write_error(Path(str(error.filename or models.folder)), error) from error
