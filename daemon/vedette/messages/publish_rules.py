"""When a detection result is published, and when the counts have changed.

    all         every result
    detections  results with something in them, and the first empty one after
    changes     the labels and their numbers differ from those last told, for two results in a row;
                and every `refresh_s`, so that silence means trouble

Invariants: pure; time comes in as the monotonic nanoseconds of the result; never more than `max_per_s`; news that
the rate holds back is published with the next allowed result; every result is counted, as published or suppressed.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vedette.config.models import PublishConfig
    from vedette.types import Detection

STABLE_RESULTS = 2
"""So many results in a row must agree: one flickering box is no change."""

EVENNESS = 0.75
"""Two publications are at least this share of 1 / max_per_s apart: even, yet a source that runs at just that rate
does not lose every other result to its jitter."""


def count_labels(detections: Sequence[Detection]) -> dict[str, int]:
    """Return label -> number of detections, in the order of the labels."""
    return dict(sorted(Counter(detection.label for detection in detections).items()))


class CountsRule:
    """Says when the counts of the scene have changed: stable, and not those last told."""

    def __init__(self) -> None:
        self.told: Mapping[str, int] | None = None
        """What subscribers were told last; None: nothing, so that the next counts are news at once."""
        self._seen: Mapping[str, int] | None = None
        self._agreeing = 0

    def changed(self, counts: Mapping[str, int]) -> bool:
        """Take the counts of one result; True while they should be told."""
        self._agreeing = self._agreeing + 1 if counts == self._seen else 1
        self._seen = counts
        return self.told is None or (counts != self.told and self._agreeing >= STABLE_RESULTS)

    def tell(self, counts: Mapping[str, int]) -> None:
        """Note that these counts were told."""
        self.told = counts

    def forget(self) -> None:
        """Note that what was told no longer holds, since the device does not look."""
        self.told = None


class RateLimit:
    """Allows at most `per_s` events in any second, evenly spread."""

    def __init__(self) -> None:
        self._allowed_ns: deque[int] = deque()

    def allows(self, now_ns: int, per_s: float) -> bool:
        """Whether an event may happen now; the caller then calls `note`."""
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
    """Says which results are published. One thread."""

    def __init__(self, publish: PublishConfig) -> None:
        self.publish = publish
        """May be swapped between two results."""
        self.published = 0
        self.suppressed: Counter[str] = Counter()   # unchanged: no news; rate: held back by max_per_s
        self._counts = CountsRule()
        self._rate = RateLimit()
        self._last_ns = 0
        self._held_back = False

    def __repr__(self) -> str:
        return f"<PublishRule {self.publish.results} published={self.published} suppressed={dict(self.suppressed)}>"

    def should_publish(self, detections: Sequence[Detection], now_ns: int) -> bool:
        """Judge one result; True means that the caller publishes it now."""
        counts = count_labels(detections)
        changed = self._counts.changed(counts)   # in every mode, since a reload may switch to `changes` at any moment
        if not (self._held_back or self._is_news(counts, changed, now_ns)):
            self.suppressed["unchanged"] += 1
            return False
        self._held_back = not self._rate.allows(now_ns, self.publish.max_per_s)
        if self._held_back:
            self.suppressed["rate"] += 1
            return False
        self._rate.note(now_ns)
        self._counts.tell(counts)
        self._last_ns = now_ns
        self.published += 1
        return True

    def forget(self) -> None:
        """Have the next result count as news: it comes from elsewhere than those before."""
        self._counts.forget()

    def _is_news(self, counts: Mapping[str, int], changed: bool, now_ns: int) -> bool:
        if self.publish.results == "all":
            return True
        if self.publish.results == "detections":
            return bool(counts or self._counts.told)
        return changed or now_ns - self._last_ns >= self.publish.refresh_s * 1e9
