"""Decides about each message on the command topics: obey it, refuse it with a reason, or ignore it.

Invariants: a retained, expired or repeated command is never obeyed, nor a redelivered one that would act a second
time; a payload is checked before it is used, and is a JSON object, but for a bare ON or OFF of `detection`; a refusal
is sent as a reply, an ignored message is only logged. Nothing here does I/O.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from vedette.config.page import CommandName
from vedette.messages import topics
from vedette.types import Command

log = logging.getLogger(__name__)

KNOWN: tuple[str, ...] = get_args(CommandName)
PAYLOAD_BYTES = 64 * 1024
TRANSACTION_CHARS = 200
REMEMBERED = 100
SWITCH = "detection"
NEVER_TWICE = frozenset({"restart", "rollback", "relearn"})
"""Commands that must not be done a second time when the broker delivers them again."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message from the broker. `topic` is absolute."""

    topic: str
    payload: bytes
    retain: bool = False
    redelivered: bool = False
    response_topic: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply to a command that is not obeyed, with the reason. `reply_topic` is absolute."""

    reply_topic: str
    transaction: str | None
    error: str


class CommandFilter:
    """Decides about each message. A reload may change `allowed`, the commands that are carried out."""

    def __init__(self, device: str, allowed: Collection[str], utc_now: Callable[[], datetime]) -> None:
        self._device = device
        self.allowed = allowed
        self._utc_now = utc_now
        self._seen: deque[str] = deque(maxlen=REMEMBERED)

    def decide(self, incoming: Incoming) -> Command | Refusal | None:
        """Return the command to obey, the refusal to send, or None if the message is ignored."""
        name = topics.command_name(self._device, incoming.topic)
        if name is None or self._is_replayed(name, incoming):
            return None
        reply_topic = topics.reply_topic(self._device, name if name in KNOWN else "unknown", incoming.response_topic)
        transaction = None
        try:
            arguments = _parse(name, incoming.payload)
            transaction = _transaction(arguments)
            expires_at = _expires_at(arguments)
        except ValueError as problem:
            return Refusal(reply_topic, transaction, str(problem))
        if self._is_late(name, transaction, expires_at):
            return None
        error = self._refusal_reason(name)
        if error is not None:
            return Refusal(reply_topic, transaction, error)
        own = {key: value for key, value in arguments.items() if key not in {"transaction", "expires_at"}}
        return Command(name, own, transaction, reply_topic)

    def _is_replayed(self, name: str, incoming: Incoming) -> bool:
        if incoming.retain:
            log.warning("command %s ignored: it is retained and would act again on every reconnect", name)
        elif incoming.redelivered and name in NEVER_TWICE:
            log.info("command %s ignored: it may have been delivered before", name)
        else:
            return False
        return True

    def _is_late(self, name: str, transaction: str | None, expires_at: datetime | None) -> bool:
        if expires_at is not None and expires_at <= self._utc_now():
            log.info("command %s ignored: it expired at %s", name, expires_at)
            return True
        if transaction is None:
            return False
        if transaction in self._seen:
            log.info("command %s ignored: transaction %s was seen before", name, transaction)
            return True
        self._seen.append(transaction)
        return False

    def _refusal_reason(self, name: str) -> str | None:
        if name not in KNOWN:
            return f"unknown command; expected one of {', '.join(KNOWN)}"
        if name not in self.allowed:
            return f"{name} is not allowed on this device: expected it in commands.allow"
        return None


def _parse(name: str, payload: bytes) -> dict[str, object]:
    """Return the payload's object, an empty one for no payload. Raises: ValueError with a message for the sender."""
    if name == SWITCH and payload in (b"ON", b"OFF"):
        return {"state": payload.decode()}
    if len(payload) > PAYLOAD_BYTES:
        raise ValueError(f"the payload has {len(payload)} bytes; expected at most {PAYLOAD_BYTES}")
    try:
        value = json.loads(payload) if payload.strip() else {}
    except (ValueError, RecursionError) as problem:
        raise ValueError("the payload is not JSON: expected an object {…}") from problem
    if not isinstance(value, dict):
        raise ValueError("the payload is JSON, but not an object: expected {…}")  # noqa: TRY004 - the sender's value
    return value


def _transaction(arguments: dict[str, object]) -> str | None:
    transaction = arguments.get("transaction")
    if transaction is not None and not (isinstance(transaction, str) and len(transaction) <= TRANSACTION_CHARS):
        raise ValueError(f"transaction: expected a text of at most {TRANSACTION_CHARS} characters")
    return transaction


def _expires_at(arguments: dict[str, object]) -> datetime | None:
    text = arguments.get("expires_at")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("expires_at: expected a time with its zone, like 2026-11-21T00:42:07Z")
    return moment
