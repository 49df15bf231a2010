"""The clocks of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.support.faults.another_time import LIBRARY, faked
from vedette._lib.clock import CarriedClock, SystemClock


def test_the_clock_is_utc_and_monotonic() -> None:
    """Wall time carries its zone, monotonic time never goes back."""
    clock = SystemClock()
    offset = clock.utc_now().utcoffset()
    assert offset is not None
    assert not offset
    assert time.monotonic_ns() <= clock.monotonic_ns() <= clock.monotonic_ns() <= time.monotonic_ns()


LIVES_IN_2016 = """
import threading, time
from datetime import UTC, datetime
from vedette._lib.clock import pause
assert datetime.now(UTC).year == 2016
began_s = time.monotonic()
for _ in range(100):
    pause(0.001)
assert time.monotonic() - began_s >= 0.1
"""


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_pause_does_not_depend_on_the_wall_clock() -> None:
    """It also works under libfaketime, where `time.sleep` fails."""
    done = subprocess.run([sys.executable, "-c", LIVES_IN_2016], check=False, timeout=240, capture_output=True,
                          env={**os.environ, **faked("@2016-01-01 00:00:00")})
    assert done.returncode == 0, done.stderr


def test_a_carried_clock_continues_over_boots() -> None:
    """In the same boot it keeps its offset; after another boot it continues from the saved time."""
    clock = CarriedClock(lambda: 5 * 10**9, "two")
    clock.resume("two", 100.0, 103.0)
    assert clock.now_s() == 105.0
    clock.resume("one", 7.0, 1000.0)
    assert clock.now_s() == 1005.0
