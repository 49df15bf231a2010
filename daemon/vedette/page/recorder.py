"""What of a daemon's messages goes into the history: its events with scores and picture, minutes, and blind times.

Invariants:
- The device looks while its `counts` are not null. Another time is blind, and the worst health reason says why.
- Scores come from the last results, which are asked for only while a thing is there that moves. Each event has at most
  SCORES_MAX; with more, every second one goes.
- A picture belongs to an event only if it has the size that the event names.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vedette.errors import DaemonAway
from vedette.health.reasons import REASONS
from vedette.messages import topics
from vedette.messages.payloads import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vedette.page.device_state import DeviceState
    from vedette.page.history import History
    from vedette.serve.local.client import LocalClient

SCORES_MAX = 200
RESULTS_PERIOD_S = 5.0
MINUTE_S = 60
GAP_S = 150
PRUNE_S = 600.0
OPEN_MAX = 100
SHAPE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError)
"""What a message raises that has not the shape that it should have: a daemon of another version may send it."""
AWAY, UNRECORDED, UNKNOWN = "away", "unrecorded", "unknown"
"""Why nothing is known of a time: the daemon did not answer; the page did not run; no reason was given."""


class Recorder:
    """One daemon's. The thread of its `Device` only."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._device = ""
        self._blind: str | None = None
        self._scores: dict[str, list[tuple[float, float]]] = {}
        self._moving: dict[str, tuple[tuple[int, int], datetime]] = {}
        """Event -> run and track, and start, of events that go on and whose thing moves."""
        self._asked_s = self._pruned_s = 0.0
        self._health: Mapping[str, Any] | None = None

    def on_messages(self, state: DeviceState, messages: Iterable[tuple[str, Any]], client: LocalClient) -> None:
        """Keep what is new. Raises nothing for a message that has not the shape that it should have."""
        if state.device != self._device:
            self._begin(state.device)
        events = [payload for topic, payload in messages if topic == topics.EVENTS and isinstance(payload, dict)]
        if events or (self._moving and time.monotonic() - self._asked_s >= RESULTS_PERIOD_S):
            self._note_tracks(events)
            self._take_scores(client)
        for payload in events:
            self._put(payload, client)
        self._take_health(state)
        self._set_blind(_why_blind(state.messages))
        if time.monotonic() - self._pruned_s >= PRUNE_S:
            self._pruned_s = time.monotonic()
            self._history.prune(timestamp(datetime.now(UTC)))

    def on_away(self, state: DeviceState) -> None:
        """Note that the daemon does not answer."""
        if state.device:
            self._set_blind(AWAY)

    def _begin(self, device: str) -> None:
        """Note the time since the last run of the page as not recorded."""
        self._device, self._blind, self._scores, self._moving = device, None, {}, {}
        newest, now_s = self._history.newest_minute(device), time.time()
        if newest is not None and now_s - newest > GAP_S:
            self._history.end_blind(device, _moment(newest + MINUTE_S))
            self._history.begin_blind(device, _moment(newest + MINUTE_S), UNRECORDED)
        self._history.end_blind(device, _moment(now_s))

    def _note_tracks(self, events: Iterable[Mapping[str, Any]]) -> None:
        for payload in events:
            try:
                event, track = payload["id"], (int(payload["run"]), int(payload["track"]))
                began = datetime.fromisoformat(payload["began"])
            except SHAPE_ERRORS:
                continue
            self._moving.pop(event, None)
            if not payload.get("stationary") and len(self._moving) < OPEN_MAX:
                self._moving[event] = track, began

    def _take_scores(self, client: LocalClient) -> None:
        """Add the scores of the last results to the events that go on."""
        self._asked_s = time.monotonic()
        try:
            _, body = client.exchange("GET", "/results")
            results = json.loads(body)["results"]
            self._add(results)
        except (DaemonAway, *SHAPE_ERRORS):
            return
        for event, scores in self._scores.items():
            if len(scores) > SCORES_MAX:
                self._scores[event] = scores[::2]

    def _add(self, results: Sequence[Mapping[str, Any]]) -> None:
        events = {track: (event, began) for event, (track, began) in self._moving.items()}
        for result in results:
            at = datetime.fromisoformat(result["frame"]["captured_at"])
            for found in result["detections"]:
                event, began = events.get((result["run"], found.get("track")), ("", at))
                if not event or found["score"] is None:
                    continue
                scores, seconds = self._scores.setdefault(event, []), round((at - began).total_seconds(), 2)
                if not scores or seconds > scores[-1][0]:       # the results before were read with an earlier answer
                    scores.append((seconds, found["score"]))

    def _put(self, payload: Mapping[str, Any], client: LocalClient) -> None:
        event, best = payload.get("id"), payload.get("best")
        try:
            self._history.put_event(payload, scores=self._scores.get(str(event)),
                                    picture=_picture(client, payload["label"], best["bytes"]) if best else None)
        except SHAPE_ERRORS:
            return
        if payload.get("type") == "end":
            self._scores.pop(str(event), None)
            self._moving.pop(str(event), None)

    def _take_health(self, state: DeviceState) -> None:
        health = state.messages.get(topics.HEALTH)
        if not isinstance(health, dict) or health == self._health:
            return
        before, self._health = self._health, health
        try:
            row = _minute(before if before and before.get("run") == health["run"] else None, health)
        except SHAPE_ERRORS:
            return
        self._history.put_minute(state.device, int(time.time()) // MINUTE_S * MINUTE_S, row)

    def _set_blind(self, why: str | None) -> None:
        if why == self._blind:
            return
        now = timestamp(datetime.now(UTC))
        if self._blind is not None:
            self._history.end_blind(self._device, now)
        if why is not None:
            self._history.begin_blind(self._device, now, why)
        self._blind = why


def _why_blind(messages: Mapping[str, Any]) -> str | None:
    counts, health = messages.get(topics.COUNTS), messages.get(topics.HEALTH)
    if not isinstance(counts, dict) or counts.get("counts") is not None:
        return None
    try:
        codes = [reason["code"] for reason in health["reasons"]] if health is not None else []
    except SHAPE_ERRORS:
        codes = []
    return next((code for code in codes if code == "paused" or (code in REASONS and REASONS[code].state == "failed")),
                UNKNOWN)


def _minute(before: Mapping[str, Any] | None, health: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a health message. Rates and scores are those since the message before."""
    capture, age = health["capture"], health["capture"]["age_ms"]
    row = {"state": health["state"], "age_ms": age and age["p50"], "captured_per_s": capture["fps"],
           "detected_per_s": None, "temperature_c": (health.get("board") or {}).get("temperature_c"), "score": None}
    if before is not None and (elapsed_s := health["uptime_s"] - before["uptime_s"]) > 0:
        row["detected_per_s"] = round((capture["detected"] - before["capture"]["detected"]) / elapsed_s, 2)
        count, total = (now - then for now, then in zip(_scores(health), _scores(before), strict=True))
        row["score"] = round(total / count, 3) if count > 0 else None
    return row


def _scores(health: Mapping[str, Any]) -> tuple[float, float]:
    """Return count and sum of all scores."""
    scores = (health.get("scores") or {}).values()
    return sum(each["count"] for each in scores), sum(each["count"] * each["mean"] for each in scores)


def _picture(client: LocalClient, label: str, size: int) -> bytes | None:
    """Return the best picture of a label, if it has this size in bytes."""
    try:
        status, body = client.exchange("GET", f"/best/{quote(topics.topic_level(label), safe='')}")
    except DaemonAway:
        return None
    return body if status == 200 and len(body) == size else None


def _moment(at_s: float) -> str:
    return timestamp(datetime.fromtimestamp(at_s, UTC))
