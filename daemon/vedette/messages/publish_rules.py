"""When a detection result is published, and when the counts have changed.

    all         every result
    detections  results with detections, and the first empty result after them
    changes     results whose labels and counts differ from those last published, in two results in a row;
                also one result every `refresh_s`, so that silence means trouble

Invariants: pure; the caller passes the result's monotonic nanoseconds as the time; never more than `max_per_s`; a
change that the rate delays is published with the next allowed result; every result counts as published or suppressed.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vedette.config.models import PublishConfig
    from vedette.types import Detection

STABLE_RESULTS = 2
"""This many results in a row must agree. One flickering box is not a change."""

EVENNESS = 0.75
"""Two publications are at least this share of 1 / max_per_s apart. So they are evenly spread, and a source at exactly
that rate does not lose every second result to its jitter."""


def count_labels(detections: Sequence[Detection]) -> dict[str, int]:
    """Return label -> number of detections, in the order of the labels."""
    return dict(sorted(Counter(detection.label for detection in detections).items()))


class CountsRule:
    """Decides when the counts have changed: they are stable, and differ from those last published."""

    def __init__(self) -> None:
        self.published: Mapping[str, int] | None = None
        """The counts last published. None: none, so the next counts are a change at once."""
        self._seen: Mapping[str, int] | None = None
        self._agreeing = 0

    def changed(self, counts: Mapping[str, int]) -> bool:
        """Take the counts of one result. Returns True while they should be published."""
        self._agreeing = self._agreeing + 1 if counts == self._seen else 1
        self._seen = counts
        return self.published is None or (counts != self.published and self._agreeing >= STABLE_RESULTS)

    def note(self, counts: Mapping[str, int]) -> None:
        """Note that these counts were published."""
        self.published = counts

    def forget(self) -> None:
        """Note that the published counts are no longer valid, because the device does not detect."""
        self.published = None


class RateLimit:
    """Allows at most `per_s` events in any second, evenly spread."""

    def __init__(self) -> None:
        self._allowed_ns: deque[int] = deque()

    def allows(self, now_ns: int, per_s: float) -> bool:
        """Return whether an event may happen now. The caller then calls `note`."""
        if not self._allowed_ns:
            return True
        if now_ns - self._allowed_ns[-1] < EVENNESS * 1e9 / per_s:
            return False
        most = max(1, int(per_s))
        while self._allowed_ns and now_ns - self._allowed_ns[0] >= most * 1e9 / per_s:
            self._allowed_ns.popleft()
        return len(self._allowed_ns) < most

    def note(self, now_ns: int) -> None:
        """Note that an event happened."""
        self._allowed_ns.append(now_ns)


class PublishRule:
    """Decides which results are published. One thread."""

    def __init__(self, publish: PublishConfig) -> None:
        self.publish = publish
        """The caller may replace it between two results."""
        self.published = 0
        self.suppressed: Counter[str] = Counter()   # unchanged: no change; rate: delayed by max_per_s
        self._counts = CountsRule()
        self._rate = RateLimit()
        self._last_ns = 0
        self._delayed = False

    def __repr__(self) -> str:
        return f"<PublishRule {self.publish.results} published={self.published} suppressed={dict(self.suppressed)}>"

    def should_publish(self, detections: Sequence[Detection], now_ns: int) -> bool:
        """Decide about one result. True means that the caller publishes it now."""
        counts = count_labels(detections)
        changed = self._counts.changed(counts)   # in every mode: a reload may switch to `changes`
        if not (self._delayed or self._is_change(counts, changed, now_ns)):
            self.suppressed["unchanged"] += 1
            return False
        self._delayed = not self._rate.allows(now_ns, self.publish.max_per_s)
        if self._delayed:
            self.suppressed["rate"] += 1
            return False
        self._rate.note(now_ns)
        self._counts.note(counts)
        self._last_ns = now_ns
        self.published += 1
        return True

    def is_due(self, now_ns: int) -> bool:
        """Whether a result is to be published even without a change."""
        return self.publish.results == "changes" and now_ns - self._last_ns >= self.publish.refresh_s * 1e9

    def forget(self) -> None:
        """Have the next result count as a change, because it comes from another source."""
        self._counts.forget()

    def _is_change(self, counts: Mapping[str, int], changed: bool, now_ns: int) -> bool:
        if self.publish.results == "all":
            return True
        if self.publish.results == "detections":
            return bool(counts or self._counts.published)
        return changed or self.is_due(now_ns)
