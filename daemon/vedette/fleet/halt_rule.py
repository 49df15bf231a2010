"""When a rollout stops: a sequential test of how many devices failed.

It is the sequential probability ratio test of A. Wald, *Sequential Analysis*, Wiley 1947, chapter 5 (the test of a
binomial proportion). H0: a device fails with probability p0 = max_failed / 6. H1: it fails with p1 = max_failed. Both
errors are 5 %: alpha = beta = 0.05. Of n devices, X failed, and the logarithm of the likelihood ratio is

    S = X ln(p1 / p0) + (n - X) ln((1 - p1) / (1 - p0))

Invariants: pure.
- It stops (accepts H1) where S >= ln((1 - beta) / alpha). There n is every expected device. So those that have not
  reported count as not failed, and it makes no difference that failures are often reported first.
- It accepts the release (H0) where S <= ln(beta / (1 - alpha)). There n is only those that have reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

ERROR: Final = 0.05
"""Alpha and beta."""
GOOD_PART: Final = 6
"""A release of which one device in `GOOD_PART` of `max_failed` fails is a good one."""
_BOUND: Final = math.log((1 - ERROR) / ERROR)


@dataclass(frozen=True, slots=True)
class HaltTest:
    """The test against `max_failed`, the share of devices that may fail: above 0 and below 1."""

    max_failed: float

    def stops(self, failed: int, expected: int) -> bool:
        """Return whether so many of the expected devices have failed that the rollout must stop."""
        return self._ratio(failed, expected) >= _BOUND

    def accepts(self, failed: int, reported: int) -> bool:
        """Return whether so few of the devices that have reported failed that the release is a good one."""
        return self._ratio(failed, reported) <= -_BOUND

    def exceeds(self, failed: int, expected: int) -> bool:
        """Return whether more than the share have failed. The rule once the release is accepted."""
        return failed > math.floor(self.max_failed * expected + 1e-9)

    def least_good(self, expected: int) -> int:
        """Return how many devices must be good so that at most the share is not."""
        return expected - math.floor(self.max_failed * expected + 1e-9)

    def _ratio(self, failed: int, devices: int) -> float:
        bad, good = self.max_failed, self.max_failed / GOOD_PART
        return failed * math.log(bad / good) + (devices - failed) * math.log((1 - bad) / (1 - good))
