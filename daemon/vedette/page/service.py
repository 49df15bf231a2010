"""The answers of the page: pictures, state, history, and what it hands on to the daemons.

Invariants:
- The gate is asked first, whatever is wanted. A file is one of those that were read at the start, so no path leads out.
- The page knows what daemons say on their sockets, and nothing else: no configuration, model, broker or password.

    GET  /                            the page, and its files below /static/
    GET  /healthz, /metrics           for programs
    GET  /frame.jpg?device=D&after=N&wait=S     the newest picture that is not N; its result is in a comment segment
    GET  /event.jpg?device=D&id=ID    the best picture of an event
    GET  /api/state?after=V&wait=S    what the daemons say: answered once it differs from V
    GET  /api/events, /api/minutes    the history
    GET  /api/results, /api/log, /api/models, /api/config      what the daemon answers on its socket
    GET  /api/reasons                 what each health reason means, and what to do
    POST /api/commands/NAME?device=D, /api/login, /api/logout
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from vedette import __version__
from vedette.errors import DaemonAway
from vedette.health.reasons import REASONS
from vedette.messages import payloads
from vedette.page.files import static_files
from vedette.page.history import Filter
from vedette.page.metrics import exposition
from vedette.serve.exchange import Refusal, Reply, Request
from vedette.serve.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.page.device import Device
    from vedette.page.devices import Devices
    from vedette.page.gate import Gate
    from vedette.page.history import History

WAIT_S, WAIT_MAX_S = 20.0, 25.0
COMMAND_BYTES = 64 * 1024
DAY_H, HOURS_MAX = 24.0, 24.0 * 31
JPEG = "image/jpeg"
NOT_STORED = {"Cache-Control": "no-store"}
HANDED_ON = ("results", "log", "models", "config")

_Answer = Callable[[Request, "Query"], Reply]


class Query(dict[str, str]):
    """The fields of a request's query."""

    def number(self, name: str, default: float, highest: float) -> float:
        """Return a number from 0 to `highest`. Raises: Refusal."""
        try:
            value = float(self.get(name, default))
        except ValueError:
            value = -1.0
        if not value >= 0:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{name}: expected a number, got {self[name][:40]!r}")
        return min(value, highest)


class PageService:
    """Answers requests, on any thread."""

    def __init__(self, devices: Devices, history: History, gate: Gate) -> None:
        self._devices = devices
        self._history = history
        self._gate = gate
        self._files = static_files()
        self._routes: Mapping[tuple[str, str], _Answer] = {
            ("GET", "/healthz"): self._healthz,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/frame.jpg"): self._frame,
            ("GET", "/event.jpg"): self._event_picture,
            ("GET", "/api/state"): self._state,
            ("GET", "/api/events"): self._events,
            ("GET", "/api/minutes"): self._minutes,
            ("GET", "/api/reasons"): self._reasons,
            **{("GET", f"/api/{name}"): self._hand_on for name in HANDED_ON},
            ("POST", "/api/commands"): self._command,
            ("POST", "/api/login"): self._log_in,
            ("POST", "/api/logout"): self._log_out,
        }

    def __repr__(self) -> str:
        return f"<PageService {self._devices!r}>"

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request. Raises: OSError from its connection."""
        try:
            return self._answer(request)
        except Refusal as refusal:
            return refusal.reply()
        except DaemonAway as away:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(away)).reply()

    def count_refused(self) -> None:
        """Do nothing: a connection that was refused shows in the client."""

    def close(self) -> None:
        """Do nothing: the owner of the parts closes them."""

    def _answer(self, request: Request) -> Reply:
        path, _, text = request.path.partition("?")
        self._gate.check(request, route=path)
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET" and (file := self._files.get(path)) is not None:
            return file.reply(request.headers.get("if-none-match", ""))
        route = "/api/commands" if path.startswith("/api/commands/") else path
        answer = self._routes.get((method, route))
        if answer is None:
            allowed = ", ".join(each for each, at in self._routes if at == route) or ("GET" if path in self._files
                                                                                      else "")
            if allowed:
                raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}", Allow=allowed)
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page")
        try:
            query = Query(parse_qsl(text, max_num_fields=20, keep_blank_values=True))
        except ValueError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the query has too many fields") from error
        return answer(request, query)

    def _healthz(self, _request: Request, _query: Query) -> Reply:
        states = self._devices.states()
        is_ok = bool(states) and all(state.reachable and not _is_failed(state.messages) for state in states)
        return _json({"status": "ok" if is_ok else "failed"},
                     HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE)

    def _metrics(self, _request: Request, _query: Query) -> Reply:
        text = exposition(self._devices.states()).encode("utf-8", "replace")
        return Reply(HTTPStatus.OK, text, CONTENT_TYPE, NOT_STORED)

    def _frame(self, _request: Request, query: Query) -> Reply:
        device = self._device(query)
        after = int(query.number("after", 0, 2**53)) if "after" in query else None
        picture = device.frames.newer(after, query.number("wait", WAIT_S, WAIT_MAX_S))
        if picture is None:
            return Reply(HTTPStatus.NO_CONTENT, b"", headers=NOT_STORED)
        return Reply(HTTPStatus.OK, picture.jpeg, JPEG, {**NOT_STORED, "Vedette-Seq": str(picture.seq)})

    def _event_picture(self, _request: Request, query: Query) -> Reply:
        jpeg = self._history.picture(self._name(query), query.get("id", ""))
        if jpeg is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no picture of this event")
        return Reply(HTTPStatus.OK, jpeg, JPEG, {"Cache-Control": "private, max-age=300"})

    def _state(self, request: Request, query: Query) -> Reply:
        version = self._devices.changed(query.get("after"), query.number("wait", WAIT_S, WAIT_MAX_S))
        return _json({"version": version, "now": payloads.timestamp(datetime.now(UTC)),
                      "login": self._gate.check(request, route="/api/state"), "vedette": __version__,
                      "devices": [{"device": state.device, "reachable": state.reachable,
                                   "since": payloads.timestamp(state.since), "error": state.error,
                                   "messages": dict(state.messages)} for state in self._devices.states()]})

    def _events(self, _request: Request, query: Query) -> Reply:
        device = self._name(query)
        began, _, event = query.get("before", "").partition(" ")
        events = self._history.events(Filter(device, query.get("label", ""), query.get("zone", ""),
                                             (began or "~", event), int(query.number("limit", 50, 200))))
        hours, oldest_s = query.number("hours", DAY_H, HOURS_MAX), self._history.oldest_minute(device)
        since = None if oldest_s is None else payloads.timestamp(datetime.fromtimestamp(oldest_s, UTC))
        return _json({"events": events, "since": since, "labels": self._history.labels(device),
                      "zones": sorted({zone for each in events for zone in each["entered"]}),
                      "next": f"{events[-1]['began']} {events[-1]['id']}" if events else None,
                      "blind": self._history.blind(device, payloads.timestamp(
                          datetime.now(UTC) - timedelta(hours=hours)))})

    def _minutes(self, _request: Request, query: Query) -> Reply:
        device, hours = self._name(query), query.number("hours", DAY_H, HOURS_MAX)
        return _json(_columns(self._history.minutes(device, int(time.time() - hours * 3600))))

    def _reasons(self, _request: Request, _query: Query) -> Reply:
        return _json({code: {"state": each.state, "meaning": each.meaning, "action": each.remedy}
                      for code, each in REASONS.items()})

    def _hand_on(self, request: Request, query: Query) -> Reply:
        name = request.path.partition("?")[0].rpartition("/")[2]
        status, body = self._device(query).exchange("GET", f"/{name}")
        return Reply(HTTPStatus(status), body, headers=NOT_STORED)

    def _command(self, request: Request, query: Query) -> Reply:
        device, name = self._device(query), request.path.partition("?")[0].removeprefix("/api/commands/")
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected one Content-Length")
        if int(length) > COMMAND_BYTES:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {COMMAND_BYTES} bytes")
        body = request.read(int(length))
        if len(body) < int(length):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body ended early")
        status, answer = device.exchange("POST", f"/commands/{quote(name, safe='')}", body)
        line, _, jpeg = answer.partition(b"\n")
        if jpeg:
            return Reply(HTTPStatus(status), jpeg, JPEG, NOT_STORED)
        return Reply(HTTPStatus(status), line, headers=NOT_STORED)

    def _log_in(self, request: Request, _query: Query) -> Reply:
        return self._gate.log_in(request)

    def _log_out(self, request: Request, _query: Query) -> Reply:
        return self._gate.log_out(request)

    def _device(self, query: Query) -> Device:
        """Return the device that is asked for; the only one, if none is named. Raises: Refusal."""
        device = self._devices.of(query.get("device", ""))
        if device is None:
            names = ", ".join(state.device for state in self._devices.states() if state.device)
            raise Refusal(HTTPStatus.NOT_FOUND, f"device: expected one of {names}" if names else
                          "no daemon has answered yet")
        return device

    def _name(self, query: Query) -> str:
        return self._device(query).state.device


def _is_failed(messages: Mapping[str, object]) -> bool:
    health = messages.get("health")
    return isinstance(health, dict) and health.get("state") == "failed"


def _columns(minutes: list[tuple[int, dict[str, object]]]) -> dict[str, list[object]]:
    """Return the minutes as columns. A gap of more than two minutes has one row of nulls."""
    names = ("state", "age_ms", "captured_per_s", "detected_per_s", "temperature_c", "score")
    columns: dict[str, list[object]] = {name: [] for name in ("at", *names)}
    last: int | None = None
    for at, row in minutes:
        if last is not None and at - last > 120:
            for name, column in columns.items():
                column.append(last + 60 if name == "at" else None)
        last = at
        for name in names:
            columns[name].append(row.get(name))
        columns["at"].append(at)
    return columns


def _json(value: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, payloads.encode(value), headers=NOT_STORED)
