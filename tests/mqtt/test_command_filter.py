"""Which commands are carried out, refused and ignored."""

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


def command_filter(allowed: tuple[str, ...] = ("update", "resume", "restart")) -> CommandFilter:
    return CommandFilter("gate-01", allowed, lambda: NOW)


def incoming_command(name: str = "resume", **changes: object) -> Incoming:
    given = {"topic": f"{BASE}/cmd/{name}", "payload": b"", **changes}
    return Incoming(**given)  # type: ignore[arg-type]


def test_empty_payload_is_a_command_without_arguments() -> None:
    """An empty payload means no arguments, and the reply goes to the command's own topic."""
    assert command_filter().decide(incoming_command()) == Command("resume", {}, None, f"{BASE}/reply/resume")


def test_fleet_nudge_is_an_update() -> None:
    """The nudge to the whole fleet reaches the daemon as the command `update`."""
    verdict = command_filter().decide(Incoming("vedette/fleet/update", b""))
    assert isinstance(verdict, Command)
    assert verdict.name == "update"


@pytest.mark.parametrize("incoming", [
    incoming_command(retain=True),
    Incoming("vedette/fleet/update", b"", retain=True),
    incoming_command("restart", redelivered=True),
    incoming_command("rollback", redelivered=True),
    incoming_command("relearn", redelivered=True),
    incoming_command(payload=b'{"expires_at": "2026-11-21T00:42:07Z"}'),
    incoming_command(payload=b'{"expires_at": "2026-11-21T02:00:00+02:00"}'),
    Incoming(f"{BASE}/info", b""),
])
def test_unsafe_deliveries_are_ignored(incoming: Incoming) -> None:
    """Retained, redelivered and expired commands, and other messages, are neither carried out nor answered."""
    assert command_filter().decide(incoming) is None


def test_a_redelivered_harmless_command_is_carried_out() -> None:
    """A command that does no harm twice is carried out when redelivered: the first delivery may be lost."""
    assert isinstance(command_filter().decide(incoming_command("resume", redelivered=True)), Command)


def test_a_repeated_transaction_is_ignored() -> None:
    """A transaction is carried out once while it is among the last hundred."""
    ours = command_filter()
    incoming = [incoming_command(payload=json.dumps({"transaction": str(number)}).encode())
                for number in range(REMEMBERED + 1)]
    assert all(isinstance(ours.decide(one), Command) for one in incoming)
    assert ours.decide(incoming[-1]) is None
    assert isinstance(ours.decide(incoming[0]), Command)


@pytest.mark.parametrize(("incoming", "word"), [
    (incoming_command(payload=b"{"), "not JSON"),
    (incoming_command(payload=b"\xff"), "not JSON"),
    (incoming_command(payload=b"[" * 60_000), "not JSON"),
    (incoming_command(payload=b"[]"), "not an object"),
    (incoming_command(payload=b" " * 65_537), "65536"),
    (incoming_command(payload=b'{"transaction": 7}'), "transaction"),
    (incoming_command(payload=b'{"expires_at": "tomorrow"}'), "expires_at"),
    (incoming_command(payload=b'{"expires_at": "2026-11-21T00:42:07"}'), "zone"),
    (incoming_command("pause"), "commands.allow"),
    (incoming_command("format"), "update, rollback"),
])
def test_invalid_commands_are_refused(incoming: Incoming, word: str) -> None:
    """A malformed, too large, unknown or forbidden command is refused with the reason."""
    verdict = command_filter().decide(incoming)
    assert isinstance(verdict, Refusal)
    assert word in verdict.error
    assert verdict.reply_topic.startswith(f"{BASE}/reply/")


@pytest.mark.parametrize(("payload", "arguments"), [
    (b"ON", {"state": "ON"}), (b"OFF", {"state": "OFF"}), (b'{"state": "OFF", "transaction": "t1"}', {"state": "OFF"}),
    (b"", {})])
def test_the_switch_takes_a_bare_word(payload: bytes, arguments: dict[str, str]) -> None:
    """`detection` is the one command whose payload may be no JSON object."""
    verdict = command_filter(("detection",)).decide(incoming_command("detection", payload=payload))
    assert isinstance(verdict, Command)
    assert verdict.arguments == arguments


@pytest.mark.parametrize("incoming", [
    incoming_command("detection", payload=b"on"), incoming_command("detection", payload=b"TRUE"),
    incoming_command("resume", payload=b"ON"), incoming_command("pause", payload=b"OFF")])
def test_no_other_word_and_no_other_command(incoming: Incoming) -> None:
    """Only ON and OFF, and only for `detection`."""
    assert isinstance(command_filter(("detection", "resume", "pause")).decide(incoming), Refusal)


def test_the_switch_is_obeyed_only_if_it_is_allowed() -> None:
    """As every command; a retained one never."""
    off = incoming_command("detection", payload=b"OFF")
    assert isinstance(command_filter().decide(off), Refusal)
    assert command_filter(("detection",)).decide(incoming_command("detection", payload=b"OFF", retain=True)) is None


def test_a_refusal_names_its_transaction() -> None:
    """A sender knows which of its commands was refused, even if only the expiry is malformed."""
    verdict = command_filter().decide(incoming_command(payload=b'{"transaction": "t1", "expires_at": 5}'))
    assert isinstance(verdict, Refusal)
    assert verdict.transaction == "t1"


def test_the_allow_list_is_read_each_time() -> None:
    """A command is carried out as soon as a reload allows it."""
    allowed: list[str] = []
    ours = CommandFilter("gate-01", allowed, lambda: NOW)
    assert isinstance(ours.decide(incoming_command("pause")), Refusal)
    allowed.append("pause")
    assert isinstance(ours.decide(incoming_command("pause")), Command)


@given(st.binary(max_size=200), st.text(max_size=20), st.booleans(), st.booleans(), st.none() | st.text(max_size=30))
def test_any_bytes_get_a_decision(payload: bytes, name: str, retain: bool, redelivered: bool,
                                  response: str | None) -> None:
    """No message raises an exception, and every reply goes below the device's own reply topic."""
    verdict = command_filter().decide(Incoming(f"{BASE}/cmd/{name}", payload, retain, redelivered, response))
    assert verdict is None or verdict.reply_topic.startswith(f"{BASE}/reply/")
