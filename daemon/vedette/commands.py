"""Carries out the commands that arrive over MQTT or the local socket, and replies to each.

Invariants: the thread that a command arrives on only puts it into the supervisor's inbox; the main thread carries it
out, after the broker got its acknowledgement; every accepted command has exactly one reply; at most `WAITING_LIMIT`
commands wait, the others get the reply `failed` at once, and so do those that wait when the daemon stops.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from vedette.drift.feedback import parse_feedback
from vedette.errors import ConfigError, UpdateRefused, UsageError, VedetteError
from vedette.messages import payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Protocol

    from pydantic import JsonValue

    from vedette.detect.switch import DetectionSwitch
    from vedette.messages.results import ResultReporter
    from vedette.messages.shapes import ReplyStatus
    from vedette.ports import Camera, Publisher
    from vedette.types import Command

    class Updates(Protocol):
        """The updater, for any thread."""

        def nudge(self) -> float:
            """Poll the update source soon; returns within how many seconds. Raises: UpdateRefused."""

        def request_roll_back(self, answered: Callable[[str, VedetteError | None], None]) -> None:
            """Go back to the previous model; `answered` is called with the outcome, on another thread."""

    class Drift(Protocol):
        """The drift watch, for any thread."""

        def feedback(self, run: int, seq: int, *, right: bool, label: str = "") -> tuple[bool, int, int]:
            """Count feedback on a result; returns whether it is new, and the totals of all and of wrong ones."""

        def relearn(self, part: Literal["scores", "picture", "all"]) -> None:
            """Learn the present state again, as the correct one."""

    class Collection(Protocol):
        """The pictures for the workshop."""

        def request(self, what: str, answered: Callable[[VedetteError | None], None]) -> None:
            """Start, stop or clear it; `answered` is called with None or the error, on any thread.

            A UsageError: the configuration of the device does not allow it.
            """

    class Configuration(Protocol):
        """The reloader."""

        def try_out(self, wanted: Mapping[str, object]) -> tuple[str, ...]:
            """Apply these keys until the next reload or start; returns them. Raises: ConfigError."""

    class MainThread(Protocol):
        """The supervisor."""

        def call(self, action: Callable[[], None]) -> None:
            """Run `action` on the main thread soon. Never blocks."""

        def stop(self, exit_code: int, why: str) -> None:
            """End the daemon with this exit code."""

log = logging.getLogger(__name__)

PAUSE_LIMIT_S = 3600.0
SNAPSHOT_WITHIN_S = 2.0
WAITING_LIMIT = 8
STOPPING = "the daemon stops"


class CommandDesk:
    """Main thread only, but for `accept`. `stop` comes before the last replies are sent."""

    def __init__(self, camera: Camera, publisher: Publisher, *, updates: Updates, drift: Drift, results: ResultReporter,
                 main_thread: MainThread, switch: DetectionSwitch, configuration: Configuration) -> None:
        self._camera = camera
        self._publisher = publisher
        self._updates = updates
        self._drift = drift
        self._results = results
        self._main_thread = main_thread
        self._switch = switch
        self._configuration = configuration
        self.collection: Collection | None = None
        """Set it before the first command."""
        self._lock = threading.Lock()
        self._waiting: deque[Command] = deque()
        self._is_stopped = False
        self._actions: Mapping[str, Callable[[Command], None]] = {
            "pause": self._pause, "resume": self._resume, "snapshot": self._snapshot, "restart": self._restart,
            "update": self._update, "rollback": self._roll_back, "feedback": self._feedback, "relearn": self._relearn,
            "detection": self._detection, "try": self._try, "collect": self._collect,
        }

    def accept(self, command: Command) -> None:
        """Put the command into the main thread's inbox. Any thread; never blocks."""
        with self._lock:
            is_full, is_stopped = len(self._waiting) >= WAITING_LIMIT, self._is_stopped
            if not (is_full or is_stopped):
                self._waiting.append(command)
        if is_stopped:
            self._reply(command, "failed", error=STOPPING)
        elif is_full:
            self._reply(command, "failed", error=f"{WAITING_LIMIT} commands are waiting already; try again later")
        else:
            self._main_thread.call(self._carry_out_next)

    def stop(self) -> None:
        """Carry out no more commands, and reply to those that wait. Safe to call twice."""
        with self._lock:
            self._is_stopped = True
            waiting, self._waiting = self._waiting, deque()
        for command in waiting:
            self._reply(command, "failed", error=STOPPING)

    def _carry_out_next(self) -> None:
        with self._lock:
            command = self._waiting.popleft() if self._waiting else None
        if command is not None:
            self._actions[command.name](command)

    def _pause(self, command: Command) -> None:
        seconds = command.arguments.get("seconds", PAUSE_LIMIT_S)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= PAUSE_LIMIT_S:
            self._reply(command, "refused",
                        error=f"seconds: expected a number up to {PAUSE_LIMIT_S:.0f}, got {seconds!r}")
            return
        if self._switch.is_off:
            self._reply(command, "refused", error="detection is switched off already: only ON or `resume` ends that")
            return
        self._switch.pause(seconds)
        self._reply(command, "ok", {"seconds": seconds})

    def _resume(self, command: Command) -> None:
        self._turn(command, on=True)

    def _detection(self, command: Command) -> None:
        state = command.arguments.get("state")
        if state not in ("ON", "OFF") or command.arguments.keys() - {"state"}:
            self._reply(command, "refused", error="expected ON, OFF, or an object with `state`: ON or OFF")
            return
        self._turn(command, on=state == "ON")

    def _turn(self, command: Command, *, on: bool) -> None:
        try:
            if on:
                self._switch.turn_on()
            else:
                self._switch.turn_off()
        except OSError as error:
            self._reply(command, "failed",
                        error=f"done, but a restart would undo it: {error.filename}: {error.strerror}")
        else:
            self._reply(command, "ok")

    def _snapshot(self, command: Command) -> None:
        frame = self._camera.copy_next(SNAPSHOT_WITHIN_S)
        if frame is None:
            self._reply(command, "failed", error=f"no frame came within {SNAPSHOT_WITHIN_S:.0f} s")
            return
        from vedette.vision.jpeg import encode  # late: it takes memory
        jpeg = encode(frame.pixels)
        if command.on_reply is None:
            self._publisher.publish(Message(topics.SNAPSHOT, jpeg, qos=0))
        self._reply(command, "ok", {"bytes": len(jpeg), "width": frame.width, "height": frame.height,
                                    "captured_at": payloads.timestamp(frame.captured_at)}, jpeg=jpeg)

    def _restart(self, command: Command) -> None:
        self._reply(command, "ok")
        self._main_thread.stop(0, "a command requested a restart")

    def _update(self, command: Command) -> None:
        try:
            within_s = self._updates.nudge()
        except UpdateRefused as refusal:
            self._reply(command, "refused", error=str(refusal))
        else:
            self._reply(command, "ok", {"within_s": round(within_s, 1)})

    def _roll_back(self, command: Command) -> None:
        def answered(message: str, error: VedetteError | None) -> None:
            if error is None:
                self._reply(command, "ok", {"words": message})
            else:
                self._reply(command, "refused" if isinstance(error, UpdateRefused) else "failed", error=str(error))
        self._updates.request_roll_back(answered)

    def _feedback(self, command: Command) -> None:
        run, published = self._results.identity.run, self._results.published
        try:
            result_run, seq, right, label = parse_feedback(command.arguments, run=run, published=published)
        except ValueError as problem:
            self._reply(command, "refused", error=str(problem))
            return
        is_new, count, wrong = self._drift.feedback(result_run, seq, right=right, label=label)
        self._reply(command, "ok", {"counted": is_new, "count": count, "wrong": wrong})

    def _relearn(self, command: Command) -> None:
        what = command.arguments.get("what", "all")
        if what not in ("scores", "picture", "all") or command.arguments.keys() - {"what"}:
            self._reply(command, "refused", error="expected nothing, or what: scores, picture or all")
            return
        self._drift.relearn(what)
        self._reply(command, "ok", {"what": what})

    def _try(self, command: Command) -> None:
        try:
            tried = self._configuration.try_out(command.arguments)
        except ConfigError as error:
            self._reply(command, "refused", error="; ".join(error.problems))
        else:
            self._reply(command, "ok", {"tried": list(tried)})

    def _collect(self, command: Command) -> None:
        what = command.arguments.get("what")
        if self.collection is None or what not in ("start", "stop", "clear") or command.arguments.keys() - {"what"}:
            self._reply(command, "refused", error="expected what: start, stop or clear")
            return

        def answered(error: VedetteError | None) -> None:
            if error is None:
                self._reply(command, "ok", {"what": what})
            else:
                self._reply(command, "refused" if isinstance(error, UsageError) else "failed", error=str(error))
        self.collection.request(what, answered)

    def _reply(self, command: Command, status: ReplyStatus, data: Mapping[str, JsonValue] | None = None,
               error: str | None = None, jpeg: bytes = b"") -> None:
        log.info("command %s: %s", command.name, error or status)
        reply = payloads.encode(payloads.reply(status, transaction=command.transaction, data=data, error=error))
        if command.on_reply is not None:
            command.on_reply(reply, jpeg)
        else:
            self._publisher.publish(Message("/" + command.reply_topic, reply))
