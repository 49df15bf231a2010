"""How often somebody may try a password.

Invariants:
- An address has BURST tries, then one every PERIOD_S. All addresses that are not known have BURST_ALL, then one every
  PERIOD_ALL_S. An IPv6 network of 64 bits counts as one address, because one machine has all of it.
- An address is known once a right password came from it, and loopback is known. So whoever tries from many addresses
  cannot lock out the owner: known addresses do not share in the limit of all.
- A right password takes no try. Every refusal ends by itself, after PERIOD_S at most without tries.
- At most ADDRESSES are remembered. The one that has been quiet for longest is forgotten first.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.config.addresses import is_loopback
from vedette.net.client_address import client_of

if TYPE_CHECKING:
    from collections.abc import Callable

BURST, PERIOD_S = 5, 20.0
BURST_ALL, PERIOD_ALL_S = 20, 4.0
ADDRESSES = 500


@dataclass(slots=True)
class _Bucket:
    """Tries that are left; they come back with time."""

    most: int
    period_s: float
    left: float
    at_s: float
    is_known: bool = False

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds there is a try: 0 if there is one."""
        self.left = min(self.most, self.left + max(0.0, now_s - self.at_s) / self.period_s)
        self.at_s = now_s
        return max(0.0, (1 - self.left) * self.period_s)


class Tries:
    """Counts the tries of all addresses, on any thread. `now`: seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._all = _Bucket(BURST_ALL, PERIOD_ALL_S, BURST_ALL, now())
        self._buckets: dict[str, _Bucket] = {}

    def take(self, address: str) -> int:
        """Take a try of this address. Return 0, or after how many seconds it may come again."""
        with self._lock:
            now_s = self._now()
            bucket = self._bucket(address, now_s)
            limits = [bucket] if bucket.is_known else [bucket, self._all]
            wait_s = max(each.wait_s(now_s) for each in limits)
            if wait_s > 0:
                return math.ceil(wait_s)
            for each in limits:
                each.left -= 1
            return 0

    def give_back(self, address: str) -> None:
        """Give back the try, because the password was right. The address is known from now on."""
        with self._lock:
            bucket = self._bucket(address, self._now())
            for each in [bucket] if bucket.is_known else [bucket, self._all]:
                each.left = min(each.most, each.left + 1)
            bucket.is_known = True

    def _bucket(self, address: str, now_s: float) -> _Bucket:
        name = client_of(address)
        bucket = self._buckets.pop(name, None)
        if bucket is None:
            bucket = _Bucket(BURST, PERIOD_S, BURST, now_s, is_known=is_loopback(name))
            if len(self._buckets) >= ADDRESSES:
                strangers = (each for each, other in self._buckets.items() if not other.is_known)
                del self._buckets[next(strangers, next(iter(self._buckets)))]
        self._buckets[name] = bucket        # the last one is the one that was used last
        return bucket
