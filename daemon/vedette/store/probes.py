"""How often the daemon died while it probed a file, compared it in shadow or first opened it.

Invariants: pure; a part of the store's state. A probe that is still open when the next one begins in the same boot
killed its daemon. In another boot the power was cut, which is no death. A probe that ended says nothing, unless there
were deaths before.
"""

from __future__ import annotations

from vedette.store.frozen import Count, FrozenModel, PrintableText
from vedette.store.release import Sha256

DEATHS_MAX = 3
PROBES_KEPT = 16


class Probe(FrozenModel):
    """A file that is probed, compared or first opened, and how often the daemon died while it did that.

    `open_boot` is the boot id of the daemon that does it now, None if none does. `forced_by` is the id of the request
    that last forced another try.
    """

    sha256: Sha256
    release: Count | None = None
    deaths: Count = 0
    open_boot: PrintableText | None = None
    forced_by: PrintableText | None = None


def probe_of(probes: tuple[Probe, ...], sha256: str) -> Probe:
    """Return what is known of the probes of a digest."""
    return next((probe for probe in probes if probe.sha256 == sha256), Probe(sha256=sha256))


def begun(probes: tuple[Probe, ...], sha256: str, boot_id: str, release: int | None = None) -> tuple[Probe, ...]:
    """Count a probe before it begins. A higher release of the same file begins with no deaths."""
    probe = probe_of(probes, sha256)
    if release is not None and probe.release is not None and release > probe.release:
        probe = Probe(sha256=sha256)
    return _changed(probes, probe, deaths=probe.deaths + (probe.open_boot == boot_id), open_boot=boot_id,
                    release=probe.release if release is None else release)


def ended(probes: tuple[Probe, ...], sha256: str) -> tuple[Probe, ...]:
    """Close a probe that did not kill the daemon, whatever came of it. Safe to call twice."""
    return _changed(probes, probe_of(probes, sha256), open_boot=None)


def forced(probes: tuple[Probe, ...], sha256: str, request_id: str | None) -> tuple[Probe, ...]:
    """Forget the deaths, as an operator wants another try; once for each request, which a daemon may do again."""
    if request_id is not None and probe_of(probes, sha256).forced_by == request_id:
        return probes
    return _changed(probes, Probe(sha256=sha256, forced_by=request_id))


def without(probes: tuple[Probe, ...], sha256: str) -> tuple[Probe, ...]:
    """Forget the probes of a digest."""
    return tuple(probe for probe in probes if probe.sha256 != sha256)


def _changed(probes: tuple[Probe, ...], probe: Probe, **changes: object) -> tuple[Probe, ...]:
    """Return the probes with a changed one at the end; one that says nothing is left out."""
    changed, others = probe.model_copy(update=changes), without(probes, probe.sha256)
    says = changed.deaths or changed.open_boot or changed.forced_by
    return (*others, changed)[-PROBES_KEPT:] if says else others
