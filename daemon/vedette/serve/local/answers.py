"""What the clients of the local socket can ask, and what they get.

Invariants: nothing here waits: a request whose reply is not there yet gets None, and is asked again; a command is
carried out only if `page.allow` lists it, by the same desk as those of the broker.

    GET /frame?after=SEQ&wait=S      the newest frame that is not SEQ: its result as one line of JSON, then the JPEG
    GET /messages?after=CURSOR&wait=S    what was published since; without a cursor, the newest of each retained topic
    GET /health                      the newest health message
    GET /events                      the newest message of each of the last events
    GET /best/LABEL                  the best picture of a label that is published now: LABEL is a topic level
    GET /results                     the last results of this run, published or not
    GET /log                         the last lines of the log
    GET /models                      what `vedette model list --json` prints
    GET /config                      the configuration that runs, as far as a page shows it, and what of it is tried
    POST /commands/NAME              the body is a JSON object or empty; a snapshot is a line of JSON, then the JPEG
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from vedette.config.effective import ON_PAGE, effective
from vedette.messages import payloads, topics
from vedette.serve.local.exchange import Reply, Request, refusal
from vedette.types import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vedette.config.effective import Running
    from vedette.config.page import PageConfig
    from vedette.serve.local.published import PublishedMessages
    from vedette.serve.local.recent_results import RecentResults
    from vedette.vision.limits import Limits

PICTURE_AFTER_JSON = "application/vnd.vedette.json-line-and-jpeg"
JPEG = "image/jpeg"


class Answers:
    """One thread. `on_reply` is called after a command was carried out, on any thread; it must not block."""

    def __init__(self, running: Running, published: PublishedMessages, results: RecentResults, *,
                 accept: Callable[[Command], None], models: Callable[[], Mapping[str, Any]],
                 limits: Callable[[], Limits | None], log_lines: Callable[[], Sequence[str]],
                 on_reply: Callable[[], None]) -> None:
        self._running = running
        self._published = published
        self._results = results
        self._accept = accept
        self._log_lines = log_lines
        self._documents: Mapping[str, Callable[[], Mapping[str, Any]]] = {
            "models": models, "log": self._log, "config": self._config}
        self._limits = limits
        self._on_reply = on_reply

    @property
    def page(self) -> PageConfig:
        """The live keys of the socket, as they are now."""
        return self._running.config.page

    def answer(self, request: Request, *, is_last: bool) -> Reply | None:
        """Return the reply, or None if there is none yet. `is_last`: it waits no more. Raises: RequestRefused."""
        match request.method, request.path.removeprefix("/").split("/", 1):
            case "GET", ["frame"]:
                return self._frame(request, is_last=is_last)
            case "GET", ["messages"]:
                return self._messages(request, is_last=is_last)
            case "GET", ["health"]:
                return _json(self._published.newest(topics.HEALTH))
            case "GET", [name] if name in self._documents:
                return _json(payloads.encode(self._documents[name]()))
            case "GET", ["events"]:
                return Reply(_array("events", self._published.events()))
            case "GET", ["best", label]:
                picture = self._published.picture(f"{topics.BEST}/{label}")
                return refusal(404, "there is no picture of this label") if picture is None else Reply((picture,), JPEG)
            case "GET", ["results"]:
                identity = self._results.identity
                return Reply(_array("results", [payloads.encode(each.payload(identity))
                                                for each in self._results.last()]))
            case "POST", ["commands", name]:
                return self._command(request, name, is_last=is_last)
        return refusal(404, "there is no such resource")

    def _frame(self, request: Request, *, is_last: bool) -> Reply | None:
        newest = self._results.newest
        fresh = newest is not None and (is_last or time.monotonic() - newest.encoded_s < 1 / self.page.fps)
        if newest is not None and fresh and str(newest.seq) != request.query.get("after"):
            return Reply((newest.result, b"\n", newest.jpeg), PICTURE_AFTER_JSON)
        return Reply((), status=204) if is_last else None

    def _messages(self, request: Request, *, is_last: bool) -> Reply | None:
        run, _, number = request.query.get("after", "").partition("-")
        identity = self._results.identity
        known = int(number) if run == str(identity.run) and number.isascii() and number.isdigit() \
            and len(number) < 16 else None
        last, messages = self._published.since(known)
        if known is not None and not messages and not is_last:
            return None
        head = payloads.encode({"device": identity.device, "run": identity.run, "next": f"{identity.run}-{last}"})
        return Reply((head.removesuffix(b"}"), b",", *_array("messages", [
            b'{"topic":%b,"payload":%b}' % (json.dumps(kept.topic).encode(), kept.payload) for kept in messages])[1:]))

    def _log(self) -> Mapping[str, Any]:
        return {"lines": list(self._log_lines())}

    def _config(self) -> Mapping[str, Any]:
        return {**effective(self._running, self._limits(), ON_PAGE), "tried": self._running.tried,
                "allow": self.page.allow}

    def _command(self, request: Request, name: str, *, is_last: bool) -> Reply | None:
        if not request.begun:
            request.begun = True
            if name not in self.page.allow:
                return _refused(f"{name} is not allowed on this device: expected it in page.allow")
            try:
                arguments = json.loads(request.body) if request.body.strip() else {}
            except (ValueError, RecursionError):
                arguments = None
            if not isinstance(arguments, dict):
                return _refused("expected a JSON object, or nothing")
            self._accept(Command(name, arguments, None, "", partial(self._replied, request)))
        if request.reply is None and is_last:
            return refusal(504, "the command is not carried out yet")
        return request.reply

    def _replied(self, request: Request, reply: bytes, jpeg: bytes) -> None:
        request.reply = Reply((reply, b"\n", jpeg), PICTURE_AFTER_JSON) if jpeg else Reply((reply,))
        self._on_reply()


def _json(content: bytes | None) -> Reply:
    return refusal(404, "there is none yet") if content is None else Reply((content,))


def _refused(error: str) -> Reply:
    return Reply((payloads.encode(payloads.reply("refused", transaction=None, error=error)),))


def _array(name: str, encoded: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return an object with one array of values that are encoded already, in two parts."""
    return b"{", b'"%b":[%b]}' % (name.encode(), b",".join(encoded))
