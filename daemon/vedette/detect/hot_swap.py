"""Holds the detector in use: it opens the first one here, and takes over later ones that another thread offers.

Invariants: the detect thread alone uses, opens and swaps detectors, and only between two frames; the thread that offers
a detector closes the one before it; a model that cannot be opened is tried again, and at once when its file changes;
a model that keeps failing, or has failed often, is opened again. Any other thread may call `offer`; any thread may
read.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.detect.file_watch import FileWatch
from vedette.errors import ModelError, RuntimeMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette._lib.worker import Worker
    from vedette.ports import Clock, Detector
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

RETRY_MODEL_S = 60.0
"""The time after which a model that cannot be opened is tried again, and a model that keeps failing is opened again."""
WORN_AFTER = 1000
"""Failures after which a model is opened again: LiteRT's error message grows with each, and slows the next one."""


@dataclass(frozen=True, slots=True)
class _Offer:
    detector: Detector | None


class HotSwap:
    """`open_detector` gives None where no model is to run, within `within_s()`. `read_files`: as `FileWatch`."""

    def __init__(self, open_detector: Callable[[], Detector | None], clock: Clock,
                 read_files: Callable[[], object] | None = None, *, within_s: Callable[[], float]) -> None:
        self.detector: Detector | None = None
        self.refusal: ModelError | RuntimeMissing | None = None
        """Why there is no detector although a model was named."""
        self._open_detector = open_detector
        self._within_s = within_s
        self._files = FileWatch(read_files, clock)
        self._clock = clock
        self._handover = threading.Condition()
        self._offered: _Offer | None = None
        self._retired: Detector | None = None
        self._asked = False
        self._retry_ns = 0
        self._reopen_ns: int | None = None
        self._failures_before = 0

    def __repr__(self) -> str:
        return f"<HotSwap {self.detector!r}>"

    @property
    def is_empty(self) -> bool:
        """Whether there is no detector; False until the first one was opened or refused."""
        return (self._asked or self.refusal is not None) and self.detector is None  # in this order: see `_open`

    def offer(self, detector: Detector | None, timeout_s: float) -> bool:
        """Use this detector from the next frame on, and close the old one; None: no detector, until one is opened.

        Waits until the detect thread has taken it. Returns False if that took too long: then the new one is closed and
        the old one stays. Any thread but `detect`, one at a time.
        """
        offer = _Offer(detector)
        with self._handover:
            self._offered = offer
            taken = self._handover.wait_for(lambda: self._offered is not offer, timeout_s)
            unused = self._retired if taken else detector
            self._offered = self._retired = None
        if unused is not None:
            unused.close()
        return taken

    def take_offer(self) -> bool:
        """Use the offered detector from now on; returns whether there was an offer."""
        with self._handover:
            if self._offered is None:
                return False
            self._retired, self.detector, self._offered = self.detector, self._offered.detector, None
            self.refusal, self._retry_ns, self._reopen_ns = None, 0, None
            self._handover.notify_all()
        return True

    def open_if_due(self, worker: Worker, *, failing: bool, failures: int) -> None:
        """Open a detector if there is none, or if the present one keeps failing, and it is time to try.

        `failures`: frames of this run that the detector failed on.
        """
        now_ns = self._clock.monotonic_ns()
        if self.detector is None:
            is_due = now_ns >= self._retry_ns or (self.refusal is not None and self._files.changed())
        else:
            self._reopen_ns = (self._reopen_ns or now_ns + int(RETRY_MODEL_S * 1e9)) if failing else None
            is_due = failures - self._failures_before >= WORN_AFTER or \
                (self._reopen_ns is not None and now_ns >= self._reopen_ns)
        if is_due:
            self._reopen_ns, self._failures_before = None, failures
            worker.beat(self._within_s())
            self._open()

    def retry(self) -> None:
        """Try a refused model again at once. Any thread."""
        self._retry_ns = 0

    def close(self) -> None:
        """Free the detector. Detect thread, at its end."""
        if self.detector is not None:
            self.detector.close()

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        refusal = self.refusal
        if refusal is not None:
            return {"model_refused": str(refusal)}
        if self.is_empty:
            return {"no_model": "detector.model names none, and none is installed"}
        return {}

    def _open(self) -> None:
        self._files.remember()
        try:
            opened = self._open_detector()
        except (ModelError, RuntimeMissing) as refusal:
            if str(refusal) != str(self.refusal):
                log.error("%s", refusal)
            if self.detector is None:
                self.refusal = refusal
                self._retry_ns = self._clock.monotonic_ns() + int(RETRY_MODEL_S * 1e9)
            return
        old, self.detector = self.detector, opened      # first: `is_empty` must not hold for an instant
        self._asked, self.refusal = True, None
        if old is not None:
            old.close()
