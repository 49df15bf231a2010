"""The server's counters, in the text format that Prometheus reads.

Invariants: any thread may call; the names are few and fixed, so that no client can add any.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.types import Timing


class Counters:
    """Totals since the start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds = dict.fromkeys(("wait", "prepare", "invoke", "decode"), 0.0)
        self._images = 0
        self._busy = 0

    def count_reply(self, route: str, status: int) -> None:
        """Count a reply. `route` is one of the service's own names, never the client's text."""
        with self._lock:
            self._requests[route, int(status)] += 1

    def count_image(self, timing: Timing) -> None:
        """Count an image that the detector has processed, and its time."""
        with self._lock:
            self._images += 1
            self._seconds["wait"] += timing.wait_ms / 1e3
            self._seconds["prepare"] += timing.prepare_ms / 1e3
            self._seconds["invoke"] += timing.invoke_ms / 1e3
            self._seconds["decode"] += timing.decode_ms / 1e3

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a body while it is held."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def document(self) -> str:
        """Return all counters in Prometheus' text format."""
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
            images, busy = self._images, self._busy
        return "".join(_metric(*each) for each in (
            ("requests_total", "counter", "Replies by route and status.",
             {f'{{route="{route}",status="{status}"}}': count for (route, status), count in sorted(requests.items())}),
            ("stage_seconds_total", "counter", "Time spent on images, by stage.",
             {f'{{stage="{stage}"}}': round(spent, 6) for stage, spent in seconds.items()}),
            ("pictures_total", "counter", "Images that were processed.", {"": images}),
            ("busy", "gauge", "Bodies that are held now.", {"": busy})))


def _metric(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> str:
    head = f"# HELP vedette_serve_{name} {meaning}\n# TYPE vedette_serve_{name} {kind}\n"
    return head + "".join(f"vedette_serve_{name}{labels} {value}\n" for labels, value in values.items())
