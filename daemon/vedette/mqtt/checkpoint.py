"""What the outbox must know after a restart, small enough to be written often.

Invariants: parse(encode(x)) == x; content that cannot be parsed gives an empty checkpoint.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from vedette.types import Acknowledged


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`acknowledged`: the newest result that the broker has; `dropped`: all dropped messages so far, by kind.

    `segment` is the oldest on disk; the broker has its first `batches`.
    """

    acknowledged: Acknowledged | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    segment: int | None = None
    batches: int = 0

    def encode(self) -> bytes:
        """Return the checkpoint as JSON."""
        return json.dumps({"acknowledged": self.acknowledged, "dropped": self.dropped, "segment": self.segment,
                           "batches": self.batches}).encode()

    @classmethod
    def parse(cls, content: bytes) -> Checkpoint:
        """Return the checkpoint that was encoded."""
        try:
            saved = json.loads(content)
            acknowledged = Acknowledged(*saved["acknowledged"]) if saved["acknowledged"] else None
            return cls(acknowledged, Counter(saved["dropped"]), saved["segment"], saved["batches"])
        except (ValueError, KeyError, TypeError):
            return cls()
