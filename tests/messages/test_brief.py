"""The shorter form of a message, for brokers that take only small ones."""

from __future__ import annotations

import json

from tests.messages.test_payloads import health, validate
from vedette.messages import payloads, topics
from vedette.messages.brief import LEFT_OUT, brief
from vedette.types import Message


def test_brief_health_keeps_state_and_reasons_and_its_schema() -> None:
    """The sections that grow are left out, and nothing else changes."""
    whole = health()
    message = brief(Message(topics.HEALTH, payloads.encode(whole), retain=True))
    left = json.loads(message.payload)
    assert left.keys() == whole.keys() - LEFT_OUT
    assert left == {key: value for key, value in json.loads(payloads.encode(whole)).items() if key in left}
    assert {"state", "reasons", "mqtt"} <= left.keys()
    assert message.retain
    validate("health-1", left)


def test_other_messages_have_no_brief_form() -> None:
    """A result without some of its detections would be a wrong result."""
    message = Message(topics.DETECTIONS, b"{}")
    assert brief(message) is message
