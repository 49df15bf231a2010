"""Puts the updater's parts together.

Invariants: nothing starts here; python-tuf is imported in the job that asks the source, and only where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole
from vedette.detect.open_model import chosen
from vedette.errors import UpdateRefused
from vedette.update.activate import ModelActivator
from vedette.update.fetch import ReleaseFetcher
from vedette.update.prove import Prover, candidate_of
from vedette.update.schedule import PollSchedule
from vedette.update.trial import TrialMonitor
from vedette.update.worker import PROOF_WITHIN_S, Parts, Updater
from vedette.validate.frame_tap import FrameTap

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette._lib.worker import Worker
    from vedette.config.models import Config, UpdateConfig
    from vedette.detect.open_model import DetectorOpener
    from vedette.detect.pipeline import Pipeline
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.update.shadow import Show
    from vedette.update.source import UpdateSource

ROOT_BYTES_MAX = 1 << 20


def build(store: ModelStore, opener: DetectorOpener, pipeline: Pipeline, clock: Clock, config: Callable[[], Config], *,
          device: str, boot_id: str, frame_ms: Callable[[], float | None], throttled: Callable[[], bool],
          governed: Callable[[], bool], clock_synced: Callable[[], bool], show: Show,
          on_end: Callable[[Worker], None]) -> Updater:
    """Return the updater of a daemon. `config` is asked anew each time; what needs a restart is taken from it now."""
    def patience() -> None:
        updater.worker.beat(PROOF_WITHIN_S)

    now = config()
    tap = FrameTap()
    switch = ModelActivator(store, opener, pipeline, clock, boot_id=boot_id, choice=lambda: chosen(config(), store),
                         frame_ms=frame_ms, patience=patience)
    proving = Prover(store, opener, switch, tap, clock, config=config, show=show, governed=governed)
    watch = TrialMonitor(store, tap, clock, candidate_of=lambda path, sha256: candidate_of(path, sha256, config()),
                       failed=lambda: pipeline.errors, throttled=throttled, governed=governed)
    arrivals = None
    if now.update.source is not None and now.detector.model is None:
        arrivals = ReleaseFetcher(
            store, now.update, PollSchedule(now.update.poll_minutes * 60, clock.monotonic_ns() / 1e9), clock,
            device=device, open_source=lambda: open_source(now.update, store), clock_synced=clock_synced)
    updater = Updater(Parts(store, switch, proving, watch, tap, arrivals), config, clock, on_end=on_end)
    return updater


def open_source(update: UpdateConfig, store: ModelStore) -> UpdateSource:
    """Return the configured source. Raises: UpdateRefused for a root that cannot be read."""
    from vedette.update.source import UpdateSource  # late: python-tuf costs memory
    assert update.root is not None  # noqa: S101 - for the type checker: the configuration asks for it
    try:
        root = read_whole(update.root, ROOT_BYTES_MAX)
    except OSError as error:
        raise UpdateRefused(f"invalid: update.root {update.root} cannot be read: {error.strerror}") from error
    return UpdateSource(str(update.source), root, store.folder / "metadata", ca_file=update.ca_file)
