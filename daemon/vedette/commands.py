"""Carries out the commands that subscribers send, and answers each.

Invariants: the `mqtt` thread only leaves a command in the supervisor's inbox; it is carried out on the main thread,
after the broker has had its acknowledgement; every command that gets here is answered exactly once; few wait at a
time, the others are answered `failed` at once.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from vedette.drift.feedback import parse_feedback
from vedette.errors import UpdateRefused, VedetteError
from vedette.messages import payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Protocol

    from pydantic import JsonValue

    from vedette.detect.pipeline import Pipeline
    from vedette.messages.shapes import ReplyStatus
    from vedette.ports import Camera, Publisher
    from vedette.types import Command, Frame

    class Updates(Protocol):
        """What may be asked of the updater, from any thread."""

        def nudge(self) -> float:
            """Ask the update source soon; returns within how many seconds. Raises: UpdateRefused."""

        def ask_roll_back(self, answered: Callable[[str, VedetteError | None], None]) -> None:
            """Go back to the previous model; `answered` is told, on another thread, what became of it."""

    class Drift(Protocol):
        """What may be said of results and picture, from any thread."""

        def feedback(self, run: int, seq: int, *, right: bool, label: str = "") -> tuple[bool, int, int]:
            """Take a word on a result; returns whether it was news, how many were judged, how many wrong."""

        def relearn(self, part: Literal["scores", "picture", "all"]) -> None:
            """Take what is now for what should be."""

log = logging.getLogger(__name__)

PAUSE_LIMIT_S = 3600.0
SNAPSHOT_WITHIN_S = 2.0
WAITING_LIMIT = 8


class CommandDesk:
    """Main thread only, but for `accept`. `published`: the present run, and how many results it has published."""

    def __init__(self, pipeline: Pipeline, camera: Camera, publisher: Publisher, updates: Updates, *,
                 call: Callable[[Callable[[], None]], None], restart: Callable[[], None],
                 encode_jpeg: Callable[[Frame], bytes], drift: Drift, published: Callable[[], tuple[int, int]]) -> None:
        self._pipeline = pipeline
        self._camera = camera
        self._publisher = publisher
        self._updates = updates
        self._call = call
        self._restart = restart
        self._encode_jpeg = encode_jpeg
        self._drift = drift
        self._published = published
        self._room = threading.Semaphore(WAITING_LIMIT)
        self._actions: Mapping[str, Callable[[Command], None]] = {
            "pause": self._pause, "resume": self._resume, "snapshot": self._snapshot, "restart": self._do_restart,
            "update": self._update, "rollback": self._roll_back, "feedback": self._feedback, "relearn": self._relearn,
        }

    def accept(self, command: Command) -> None:
        """Leave the command for the main thread. Any thread; never blocks."""
        if self._room.acquire(blocking=False):
            self._call(lambda: self._carry_out(command))
        else:
            self._reply(command, "failed", error=f"{WAITING_LIMIT} commands are waiting already; try again later")

    def _carry_out(self, command: Command) -> None:
        self._room.release()
        self._actions[command.name](command)

    def _pause(self, command: Command) -> None:
        seconds = command.arguments.get("seconds", PAUSE_LIMIT_S)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= PAUSE_LIMIT_S:
            self._reply(command, "refused",
                        error=f"seconds: expected a number up to {PAUSE_LIMIT_S:.0f}, got {seconds!r}")
            return
        self._pipeline.pause(seconds)
        self._reply(command, "ok", {"seconds": seconds})

    def _resume(self, command: Command) -> None:
        self._pipeline.resume()
        self._reply(command, "ok")

    def _snapshot(self, command: Command) -> None:
        frame = self._camera.copy_next(SNAPSHOT_WITHIN_S)
        if frame is None:
            self._reply(command, "failed", error=f"no frame came within {SNAPSHOT_WITHIN_S:.0f} s")
            return
        jpeg = self._encode_jpeg(frame)
        self._publisher.publish(Message(topics.SNAPSHOT, jpeg, qos=0))
        self._reply(command, "ok", {"bytes": len(jpeg), "width": frame.width, "height": frame.height,
                                    "captured_at": payloads.timestamp(frame.captured_at)})

    def _do_restart(self, command: Command) -> None:
        self._reply(command, "ok")
        self._restart()

    def _update(self, command: Command) -> None:
        try:
            within_s = self._updates.nudge()
        except UpdateRefused as refusal:
            self._reply(command, "refused", error=str(refusal))
        else:
            self._reply(command, "ok", {"within_s": round(within_s, 1)})

    def _roll_back(self, command: Command) -> None:
        def answered(words: str, error: VedetteError | None) -> None:
            if error is None:
                self._reply(command, "ok", {"words": words})
            else:
                self._reply(command, "refused" if isinstance(error, UpdateRefused) else "failed", error=str(error))
        self._updates.ask_roll_back(answered)

    def _feedback(self, command: Command) -> None:
        run, published = self._published()
        try:
            result_run, seq, right, label = parse_feedback(command.arguments, run=run, published=published)
        except ValueError as problem:
            self._reply(command, "refused", error=str(problem))
            return
        news, count, wrong = self._drift.feedback(result_run, seq, right=right, label=label)
        self._reply(command, "ok", {"counted": news, "count": count, "wrong": wrong})

    def _relearn(self, command: Command) -> None:
        what = command.arguments.get("what", "all")
        if what not in ("scores", "picture", "all") or command.arguments.keys() - {"what"}:
            self._reply(command, "refused", error="expected nothing, or what: scores, picture or all")
            return
        self._drift.relearn(what)
        self._reply(command, "ok", {"what": what})

    def _reply(self, command: Command, status: ReplyStatus, data: Mapping[str, JsonValue] | None = None,
               error: str | None = None) -> None:
        log.info("command %s: %s", command.name, error or status)
        answer = payloads.reply(status, transaction=command.transaction, data=data, error=error)
        self._publisher.publish(Message("/" + command.reply_topic, payloads.encode(answer)))
