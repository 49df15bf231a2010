"""The law of growing, jittered delays."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from vedette._lib.backoff import backoff


@given(first=st.floats(0.01, 10), cap=st.floats(0.01, 100), seed=st.integers())
def test_backoff_grows_to_its_cap(first: float, cap: float, seed: int) -> None:
    """Every delay lies between half its step and its step; steps double to the cap and stay there."""
    steps = [min(first * 2 ** n, cap) for n in range(20)]
    delays = list(itertools.islice(backoff(first, cap, random.Random(seed).uniform), 20))
    assert all(step / 2 <= delay <= step for step, delay in zip(steps, delays, strict=True))
