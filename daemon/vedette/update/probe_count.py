"""Counts each probe of a file before it begins, so that a file that kills the daemon is not tried for ever.

Invariants: nothing is probed, compared in shadow or first opened that could not be counted durably before. What ends in
any way but the death of the daemon is no death, and neither is a power cut. Update thread only.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from vedette.errors import ModelDamaged, StateUnusable
from vedette.store import probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vedette.store.model_store import ModelStore
    from vedette.store.probes import Probe

log = logging.getLogger(__name__)


class ProbeCount:
    """`boot_id` is that of the machine's present boot."""

    def __init__(self, store: ModelStore, boot_id: str) -> None:
        self._store = store
        self._boot_id = boot_id
        self._open: set[str] = set()

    def refusal(self, sha256: str, release: int | None = None) -> str | None:
        """Return why a file must not be probed again, None where it may be."""
        deaths = probes.probe_of(self._begun(sha256, release), sha256).deaths
        if deaths < probes.DEATHS_MAX:
            return None
        return (f"{sha256[:12]}: the daemon died {deaths} times while it probed, compared or opened this model; "
                "expected none. It is refused until a higher release, or until --force")

    @contextlib.contextmanager
    def counted(self, sha256: str, release: int | None = None) -> Iterator[None]:
        """Count the work on a file within. Raises: ModelDamaged (the daemon died too often), StateUnusable."""
        if sha256 in self._open:        # an operator installs what is in shadow
            yield
            return
        refusal = self.refusal(sha256, release)
        begun = self._begun(sha256, release)
        if refusal is not None:
            self._save(probes.ended(begun, sha256))
            raise ModelDamaged(refusal)
        self._save(begun)
        self._open.add(sha256)
        try:
            yield
        finally:
            self._open.remove(sha256)
            try:
                self._save(probes.ended(self._store.state.probes, sha256))
            except StateUnusable as error:
                log.warning("the end of a probe is not recorded, so it may count as a death: %s", error)

    def _begun(self, sha256: str, release: int | None) -> tuple[Probe, ...]:
        return probes.begun(self._store.state.probes, sha256, self._boot_id, release)

    def _save(self, changed: tuple[Probe, ...]) -> None:
        self._store.change(self._store.state.with_probes(changed))
