"""The server's counters, in the text format that Prometheus reads.

Invariants: any thread may call; the names are few and fixed, so that no client can add any.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vedette.serve.exposition import Sample, family

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
        return "".join((
            family("vedette_serve_requests_total", "counter", "Replies by route and status.",
                   (Sample({"route": route, "status": str(status)}, count)
                    for (route, status), count in sorted(requests.items()))),
            family("vedette_serve_stage_seconds_total", "counter", "Time spent on images, by stage.",
                   (Sample({"stage": stage}, round(spent, 6)) for stage, spent in seconds.items())),
            family("vedette_serve_pictures_total", "counter", "Images that were processed.", [Sample({}, images)]),
            family("vedette_serve_busy", "gauge", "Bodies that are held now.", [Sample({}, busy)])))
