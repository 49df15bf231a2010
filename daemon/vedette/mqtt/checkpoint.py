"""What the outbox must know after a restart, small enough to be written often.

Invariants: parse(encode(x)) == x; what cannot be understood is a mark of nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from vedette.types import Acknowledged


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`acknowledged`: the newest result that the broker has; `dropped`: messages by kind, ever.

    Of `segment`, the oldest on disk, the broker has the first `batches`.
    """

    acknowledged: Acknowledged | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    segment: int | None = None
    batches: int = 0

    def encode(self) -> bytes:
        """Return the mark as JSON."""
        return json.dumps({"acknowledged": self.acknowledged, "dropped": self.dropped, "segment": self.segment,
                           "batches": self.batches}).encode()

    @classmethod
    def parse(cls, content: bytes) -> Checkpoint:
        """Return the mark that was encoded."""
        try:
            told = json.loads(content)
            acknowledged = Acknowledged(*told["acknowledged"]) if told["acknowledged"] else None
            return cls(acknowledged, Counter(told["dropped"]), told["segment"], told["batches"])
        except (ValueError, KeyError, TypeError):
            return cls()
