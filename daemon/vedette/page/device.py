"""Follows one daemon over its local socket: what it publishes, and whether it answers.

Invariants:
- One thread per daemon. It asks at most once a second, so that a daemon that publishes much costs no more.
- What is kept is bounded: the newest message of each topic, at most TOPICS_MAX of them. Results are not kept.
- A daemon whose name belongs to another counts as one that does not answer.
- A daemon that does not answer keeps its last messages; `reachable` says that they are old.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vedette._lib.worker import Worker
from vedette.errors import DaemonAway
from vedette.messages import topics
from vedette.page.device_state import DeviceState
from vedette.page.frames import FrameFeed
from vedette.serve.local.client import LocalClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.page.recorder import Recorder

log = logging.getLogger(__name__)

TOPICS_MAX = 200
NOT_KEPT = (topics.DETECTIONS, topics.EVENTS)


class Device:
    """One daemon. Any thread. A request waits `wait_s`; the next comes `period_s` later, or `away_s` if it failed.

    `owner_of` returns the path of the daemon that has a name, for the name and the path of this one.
    """

    wait_s, period_s, away_s = 10.0, 1.0, 2.0

    def __init__(self, path: Path, recorder: Recorder, *, owner_of: Callable[[str, Path], Path],
                 on_change: Callable[[], None], on_end: Callable[[Worker], None] | None = None) -> None:
        self.state = DeviceState(path, since=datetime.now(UTC))
        self.frames = FrameFeed(LocalClient(path))
        self._client = LocalClient(path)
        self._recorder = recorder
        self._owner_of = owner_of
        self._on_change = on_change
        self.worker = Worker(f"device {path}", self._run, on_end=on_end, limit_s=self.wait_s * 3)

    def __repr__(self) -> str:
        return f"<Device {self.state.device or self.state.path}>"

    def exchange(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Ask the daemon something else; returns status and body. Raises: DaemonAway."""
        return LocalClient(self.state.path).exchange(method, target, body)

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            worker.beat()
            try:
                messages = self._client.messages(self.wait_s if self.state.reachable else 0.0)
                self._check_name()
                events = self._missed_events() if self._client.began_anew else []
            except DaemonAway as away:
                self._on_away(str(away))
                worker.stopping.wait(self.away_s)
                continue
            self._on_messages([*((topics.EVENTS, event) for event in events), *messages])
            worker.stopping.wait(self.period_s)

    def _check_name(self) -> None:
        """Raises: DaemonAway if another daemon has this name, so nobody could tell their pictures and events apart."""
        name, path = self._client.device, self.state.path
        owner = self._owner_of(name, path)
        if owner != path:
            self._client = LocalClient(path)    # its messages are wanted again once the name is another
            raise DaemonAway(f"{path}: the daemon at {owner} is called {name} too; expected a name (device) of its own")

    def _missed_events(self) -> list[Any]:
        _, body = self._client.exchange("GET", "/events")
        try:
            return list(json.loads(body)["events"])
        except (ValueError, KeyError, TypeError) as error:
            raise DaemonAway(f"{self.state.path}: an answer of unknown shape") from error

    def _on_messages(self, messages: list[tuple[str, Any]]) -> None:
        before = self.state
        kept = {} if self._client.began_anew else dict(before.messages)
        for topic, payload in messages:
            if topic not in NOT_KEPT and (topic in kept or len(kept) < TOPICS_MAX):
                kept[topic] = payload
        since = before.since if before.reachable else datetime.now(UTC)
        self.state = DeviceState(before.path, since, self._client.device, reachable=True,
                                 messages=MappingProxyType(kept))
        self._recorder.on_messages(self.state, messages, self._client)
        if kept != before.messages or not before.reachable:
            self._on_change()

    def _on_away(self, error: str) -> None:
        before = self.state
        if before.reachable or before.error != error:
            log.warning("%s", error)
            since = datetime.now(UTC) if before.reachable else before.since
            self.state = replace(before, reachable=False, since=since, error=error)
            self._on_change()
        self._recorder.on_away(self.state)
