"""Finds releases that share devices: which devices change their release, and which ranges may surprise an operator.

Invariants: pure; releases share devices only in one channel, for a common device class, with a common salt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from vedette.store.release import BUCKETS, Release


def notes(release: Release, others: Iterable[Release]) -> Iterator[str]:
    """Yield a line for each other release that shares buckets with this one; an unlikely intention is a `warning`."""
    for other in others:
        shared = _shared(release, other)
        if other.release == release.release or shared is None:
            continue
        low, high = sorted((release, other), key=attrgetter("release"))
        where = f"buckets {shared[0]}-{shared[1]}"
        if release.variant and other.variant:
            yield (f"warning: {where} are also in release {other.release}, variant {other.variant}: only "
                   f"{high.variant} runs there, so {low.variant} is compared on fewer devices than its range says")
        elif high is other:
            yield (f"warning: {where} stay with release {other.release} ({other.name} {other.version}), whose number "
                   "is higher")
        else:
            yield f"{where} leave release {other.release} ({other.name} {other.version})"


def share(release: Release) -> float:
    """Return the share of the devices in the release's range, 0-1."""
    return (release.buckets[1] - release.buckets[0] + 1) / BUCKETS


def _shared(one: Release, other: Release) -> tuple[int, int] | None:
    first, last = max(one.buckets[0], other.buckets[0]), min(one.buckets[1], other.buckets[1])
    meet = (one.channel == other.channel and one.salt == other.salt
            and set(one.device_classes) & set(other.device_classes))
    return (first, last) if meet and first <= last else None
