"""Finds releases that share devices: which devices change their release, and which ranges may surprise an operator.

Invariants: pure; whether a device can take two releases is decided by the rule that devices use; with one salt, buckets
say which devices are in both, and with two salts only how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from operator import attrgetter

from vedette.store.release import BUCKETS, Release
from vedette.types import Receiver


def notes(release: Release, others: Iterable[Release]) -> Iterator[str]:
    """Yield a line for each other release that shares devices with this one; an unlikely intention is a `warning`."""
    for other in others:
        where = shared(release, other)
        if other.release == release.release or where is None:
            continue
        low, high = sorted((release, other), key=attrgetter("release"))
        if release.variant and other.variant:
            advice = "" if release.salt == other.salt else "; give both the same --salt"
            yield (f"warning: {where} are also in release {other.release}, variant {other.variant}: only "
                   f"{high.variant} runs there, so {low.variant} is compared on fewer devices than its range says"
                   f"{advice}")
        elif high is other:
            yield (f"warning: {where} stay with release {other.release} ({other.name} {other.version}), whose number "
                   "is higher")
        else:
            yield f"{where} leave release {other.release} ({other.name} {other.version})"


def share(release: Release) -> float:
    """Return the share of the devices in the release's range, 0-1."""
    return (release.buckets[1] - release.buckets[0] + 1) / BUCKETS


def shared(one: Release, other: Release) -> str | None:
    """Return in words which devices are in both ranges. None: none is."""
    receiver = _receiver_of(one, other)
    if receiver is None:
        return None
    tags = f"tags {', '.join(receiver.tags)}" if receiver.tags else None
    channel = f"channel {receiver.channel}" if one.channel != other.channel else None
    only = ", ".join(filter(None, (channel, tags)))
    if one.salt != other.salt and share(one) < 1 and share(other) < 1:
        where = f"about {100 * share(one) * share(other):.3g}% of the devices"
    else:
        first, last = max(one.buckets[0], other.buckets[0]), min(one.buckets[1], other.buckets[1])
        if first > last:
            return None
        where = f"buckets {first}-{last}"
    return f"{where} ({only})" if only else where


def _receiver_of(one: Release, other: Release) -> Receiver | None:
    """Return what a device takes that takes both, apart from buckets. None: there is no such device."""
    if one.kind != other.kind:
        return None
    classes = [each for each in one.device_classes if each in other.device_classes]
    found = (Receiver(device_class, channel, tuple(sorted({*one.tags, *other.tags})))
             for device_class, channel in product(classes, (one.channel, other.channel)))
    return next((receiver for receiver in found
                 if all(release.is_for("", receiver, any_bucket=True) for release in (one, other))), None)
