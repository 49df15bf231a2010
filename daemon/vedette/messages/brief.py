"""A shorter form of a message for a broker that takes only small ones.

Invariants: what is left is unchanged and valid by the message's schema; a message without a shorter form stays the
same.
"""

from __future__ import annotations

import json
from dataclasses import replace

from vedette.messages import payloads, topics
from vedette.types import Message

LEFT_OUT = frozenset({"scores", "image", "drift", "board", "governor"})
"""Sections of health that a brief one does not have. State and reasons always stay."""


def brief(message: Message) -> Message:
    """Return the shorter form of health, and any other message as it is."""
    if message.topic != topics.HEALTH:
        return message
    health = json.loads(message.payload)
    return replace(message, payload=payloads.encode({key: health[key] for key in health if key not in LEFT_OUT}))
