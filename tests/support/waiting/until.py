"""Waits for another thread or process, and fails only because of a defect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.present import present
from tests.support.waiting.fair_clock import PATIENCE_S, fair_s

T = TypeVar("T")


def wait_until(holds: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """Poll until `holds`; returns whether it did. Within fair seconds, and not much longer than `PATIENCE_S` at all."""
    last_s, last_fair_s = time.monotonic() + max(within_s, PATIENCE_S), fair_s() + within_s
    tick = threading.Event()
    while not holds():
        if fair_s() > last_fair_s or time.monotonic() > last_s:
            return False
        tick.wait(0.02)
    return True


def eventually(answer: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
    """Return the first truthy answer, or fail after `within_s`, as `wait_until` counts them."""
    newest: list[T | None] = []

    def answered() -> bool:
        newest[:] = [answer()]
        return bool(newest[0])

    assert wait_until(answered, within_s), f"not within {within_s} s: {answer}"
    return present(newest[0])
