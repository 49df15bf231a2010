"""Which commands are obeyed, refused and ignored."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.mqtt.command_filter import REMEMBERED, CommandFilter, Incoming, Refusal
from vedette.types import Command

NOW = datetime(2026, 11, 21, 0, 42, 7, tzinfo=UTC)
BASE = "vedette/gate-01"


def judge(allowed: tuple[str, ...] = ("update", "resume", "restart")) -> CommandFilter:
    return CommandFilter("gate-01", lambda: allowed, lambda: NOW)


def asking(name: str = "resume", **changes: object) -> Incoming:
    given = {"topic": f"{BASE}/cmd/{name}", "payload": b"", **changes}
    return Incoming(**given)  # type: ignore[arg-type]


def test_empty_payload_is_a_command_without_arguments() -> None:
    """Nothing at all means no arguments, and the reply goes to the command's own topic."""
    assert judge().judge(asking()) == Command("resume", {}, None, f"{BASE}/reply/resume")


def test_fleet_nudge_is_an_update() -> None:
    """The nudge to the whole fleet reaches the daemon as the command `update`."""
    verdict = judge().judge(Incoming("vedette/fleet/update", b""))
    assert isinstance(verdict, Command)
    assert verdict.name == "update"


@pytest.mark.parametrize("incoming", [
    asking(retain=True),
    Incoming("vedette/fleet/update", b"", retain=True),
    asking("restart", redelivered=True),
    asking(payload=b'{"expires_at": "2026-11-21T00:42:07Z"}'),
    asking(payload=b'{"expires_at": "2026-11-21T02:00:00+02:00"}'),
    Incoming(f"{BASE}/info", b""),
])
def test_ignored(incoming: Incoming) -> None:
    """Retained, redelivered and expired commands, and what is none, are neither obeyed nor answered."""
    assert judge().judge(incoming) is None


def test_redelivered_harmless_command_is_obeyed() -> None:
    """A command that does no harm twice is obeyed although the broker sent it before: it may never have arrived."""
    assert isinstance(judge().judge(asking("resume", redelivered=True)), Command)


def test_repeated_transaction_is_ignored() -> None:
    """A transaction is obeyed once, as long as it is among the last hundred."""
    ours = judge()
    incoming = [asking(payload=json.dumps({"transaction": str(number)}).encode()) for number in range(REMEMBERED + 1)]
    assert all(isinstance(ours.judge(one), Command) for one in incoming)
    assert ours.judge(incoming[-1]) is None
    assert isinstance(ours.judge(incoming[0]), Command)


@pytest.mark.parametrize(("incoming", "word"), [
    (asking(payload=b"{"), "no JSON"),
    (asking(payload=b"\xff"), "no JSON"),
    (asking(payload=b"[" * 60_000), "no JSON"),
    (asking(payload=b"[]"), "no object"),
    (asking(payload=b" " * 65_537), "65536"),
    (asking(payload=b'{"transaction": 7}'), "transaction"),
    (asking(payload=b'{"expires_at": "tomorrow"}'), "expires_at"),
    (asking(payload=b'{"expires_at": "2026-11-21T00:42:07"}'), "zone"),
    (asking("pause"), "commands.allow"),
    (asking("format"), "update, rollback"),
])
def test_refused(incoming: Incoming, word: str) -> None:
    """What is malformed, too large, unknown or not allowed is refused with the reason in words."""
    verdict = judge().judge(incoming)
    assert isinstance(verdict, Refusal)
    assert word in verdict.error
    assert verdict.reply_topic.startswith(f"{BASE}/reply/")


def test_refusal_names_its_transaction() -> None:
    """A sender can tell which of its commands was refused, also when only the expiry is malformed."""
    verdict = judge().judge(asking(payload=b'{"transaction": "t1", "expires_at": 5}'))
    assert isinstance(verdict, Refusal)
    assert verdict.transaction == "t1"


def test_allow_list_is_asked_each_time() -> None:
    """A reload that allows a command is obeyed at once."""
    allowed: list[str] = []
    ours = CommandFilter("gate-01", lambda: allowed, lambda: NOW)
    assert isinstance(ours.judge(asking("pause")), Refusal)
    allowed.append("pause")
    assert isinstance(ours.judge(asking("pause")), Command)


@given(st.binary(max_size=200), st.text(max_size=20), st.booleans(), st.booleans(), st.none() | st.text(max_size=30))
def test_any_bytes_are_judged(payload: bytes, name: str, retain: bool, redelivered: bool, response: str | None) -> None:
    """No message whatever raises, and every answer goes below the device's own reply topic."""
    verdict = judge().judge(Incoming(f"{BASE}/cmd/{name}", payload, retain, redelivered, response))
    assert verdict is None or verdict.reply_topic.startswith(f"{BASE}/reply/")
