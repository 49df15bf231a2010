"""The camera as the daemon sees it: a child process that captures, and one thread that owns the child.

Invariants:
- captured == taken + sum(dropped) + pending at every moment, also after a child died: `captured` is the last frame's
  seq. A gap in seq is the number of frames that found no free slot (`busy`), or that the child kept back (`still`).
- A frame without motion (`still`) goes back to the child at once, unless the gate is open. It counts for all else.
- The capture thread owns the child. Other threads only take frames, release them and read the status.
- A child that hangs, stops, crashes or sends nonsense never blocks anybody: it is killed and replaced
  (`restart_policy`).
- Frames of a dead child stay valid until they are released.
Nothing heavy is imported here, so that the child starts before the daemon's own imports.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from vedette._lib.latest import Latest
from vedette._lib.worker import Worker
from vedette.camera.camera_state import CameraStateTracker
from vedette.camera.decoding_cost import DecodingCost
from vedette.camera.film_clock import FilmClock
from vedette.camera.frame_check import view_of
from vedette.camera.frame_copies import FrameCopies
from vedette.camera.restart_policy import Replacements
from vedette.camera.session import Session
from vedette.camera.settings import CHILD_MODULE, SLOTS
from vedette.camera.wire import Final, FrameReady, Opening, PictureOrder, PictureReady, Trouble
from vedette.errors import CameraStuck, SourceEnded, SourceError, SourceInvalid, SourceMissing
from vedette.net.urls import shown
from vedette.types import CameraStatus, Frame, Scaling, View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette._lib.child import Child
    from vedette.camera.settings import CaptureSettings
    from vedette.camera.wire import Message
    from vedette.ports import Clock
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

POLL_S = 0.25
STOP_WITHIN_S = 5.0
RATE_FRAMES = 60

_FINAL_ERRORS: dict[str, type[SourceError]] = {"ended": SourceEnded, "invalid": SourceInvalid, "missing": SourceMissing}


class RemoteCamera:
    """A ports.Camera whose source runs in a child process. The constructor starts the child, `start()` the thread."""

    def __init__(self, settings: CaptureSettings, clock: Clock, *, child_module: str = CHILD_MODULE,
                 on_end: Callable[[Worker], None] | None = None, replacements: Replacements | None = None,
                 cost: DecodingCost | None = None, child: Child | None = None) -> None:
        self.worker = Worker("capture", self._run, on_end=on_end)
        self._settings = settings
        self._source = shown(settings.source)
        self._clock = clock
        self._module = child_module
        self._lock = threading.Lock()
        self._mailbox: Latest[Frame] = Latest(SLOTS if settings.every_frame else 1)
        self._holds: dict[int, tuple[Session, int]] = {}
        self._copies = FrameCopies()
        self._dropped: Counter[str] = Counter()
        self._replacements = replacements or Replacements()
        self._rate: deque[tuple[int, int]] = deque(maxlen=RATE_FRAMES)
        self._tracker = CameraStateTracker(clock)
        self._cost = cost or DecodingCost()
        self._last: FrameReady | None = None
        self._view: View | None = None
        self._reopened = self._slow_openings = 0
        self._final: SourceError | None = None
        self._scaling: Scaling | None = None
        self._gate_is_open = True
        self._still_seq = self._taken_seq = 0      # of the newest frame that was still, and of the last one taken
        self._film_clock = FilmClock()
        self.on_picture: Callable[[int, bytes], None] | None = None
        """Gets the seq of a frame and its JPEG, which `order_picture` has ordered. On the capture thread."""
        self._order: PictureOrder | None = None
        self._session = self._new_session(child)

    def __repr__(self) -> str:
        return f"<RemoteCamera {self._tracker!r} captured={self._captured} {self._session!r}>"

    @property
    def child_pid(self) -> int:
        """Process id of the present child, for memory figures."""
        return self._session.pid

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames that nobody took, by cause: replaced, busy, still. Any thread may read it, as often as it likes."""
        with self._lock:
            return dict(self._dropped)

    def start(self) -> None:
        """Start the capture thread."""
        self.worker.start()

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None after `timeout_s`. See ports.Camera."""
        frame = self._mailbox.take(timeout_s)
        self._taken_seq = frame.seq if frame else self._taken_seq
        if frame is None and self._final is not None and not len(self._mailbox):
            raise type(self._final)(str(self._final))
        return frame

    def release(self, frame: Frame) -> None:
        """Give the frame's slot back to its child. Safe to call twice."""
        with self._lock:
            hold = self._holds.pop(frame.seq, None)
            order = self._order if self._order and self._order.seq == frame.seq else None
        if hold:
            session, slot = hold
            session.give_back(slot, order)

    def scale_to(self, scaling: Scaling | None) -> None:
        """Request this scaled part from the child, from some later frame on. See ports.Camera."""
        if scaling != self._scaling:
            self._scaling = scaling
            self._session.request(scaling, gate_is_open=self._gate_is_open)

    def open_gate(self, *, wanted: bool) -> None:
        """Give frames without motion too, while `wanted`. See ports.Camera."""
        if wanted != self._gate_is_open:
            self._gate_is_open = wanted
            self._session.request(self._scaling, gate_is_open=wanted)

    def order_picture(self, frame: Frame, width: int, height: int, quality: int) -> bool:
        """Have the child encode this frame when it is released. See ports.Pictures."""
        with self._lock:
            _, slot = self._holds.get(frame.seq, (None, -1))
            if slot >= 0:
                self._order = PictureOrder(slot, frame.seq, frame.width, frame.height, width, height, quality)
        return slot >= 0

    def copy_next(self, timeout_s: float) -> Frame | None:
        """Return a copy of the next frame to arrive, or None after `timeout_s`."""
        return self._copies.next(timeout_s)

    def status(self) -> CameraStatus:
        """Return what the camera is doing."""
        with self._lock:
            last = self._last
            return CameraStatus(
                state=self._tracker.state, since=self._tracker.since, cause=self._tracker.cause,
                source=self._source,
                captured=self._captured, dropped=dict(self._dropped),
                pending=len(self._mailbox), fps=self._fps(),
                width=last.width if last else 0, height=last.height if last else 0,
                brightness=last.brightness if last else None, contrast=last.contrast if last else None,
                view=self._view,
                reopened=self._reopened, children_replaced=self._replacements.total,
                interruptions=self._tracker.interruptions)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        return self._tracker.reasons() | self._cost.reasons()

    def close(self) -> None:
        """Stop capturing. A frame that was not taken stays pending. Safe to call twice."""
        if not self.worker.alive:
            self._session.end(gracefully=True)
        self.worker.stop(STOP_WITHIN_S)
        self._mailbox.close()

    def _run(self, worker: Worker) -> None:
        try:
            while not worker.stopping.is_set():
                worker.beat()
                if self._settings.kind == "stream" and self._settings.decode == "all":
                    self._cost.measure(self._clock.monotonic_ns() / 1e9, self._session.pid, self.status())
                if self._final is not None:
                    worker.stopping.wait(POLL_S)
                elif trouble := self._read_messages():
                    self._replace(worker, trouble)
        finally:
            self._session.end(gracefully=True)

    def _read_messages(self) -> Trouble | None:
        """Handle the messages that are there. Return why the child must be replaced, or None."""
        session = self._session
        session.wait_for_message(POLL_S)
        try:
            while (message := session.receive()) is not None:
                self._on_message(message)
                if self._final is not None:
                    return None
        except EOFError as death:
            return Trouble("offline", str(death), 0)
        except ValueError as lie:
            return Trouble("offline", f"the capture child sent a wrong message: {lie}", 0)
        silence = session.silence()
        if not silence and self._settings.may_return and (slow := session.slow_opening()):
            self._tracker.trouble("offline", f"{self._source}: {slow}")
        return Trouble("stalled", silence, 0) if silence else None

    def _on_message(self, message: Message) -> None:
        if isinstance(message, FrameReady):
            self._on_frame(message)
        elif isinstance(message, Opening):
            if self._session.openings > 1:
                self._reopened += 1
                self._replacements.worked()
        elif isinstance(message, Trouble):
            self._tracker.trouble(message.state, message.cause)
        elif isinstance(message, Final):
            self._on_final(message)
        elif isinstance(message, PictureReady) and self.on_picture and self._order and self._order.seq == message.seq:
            self.on_picture(message.seq, self._session.picture(message))

    def _on_frame(self, message: FrameReady) -> None:
        now_ns = self._clock.monotonic_ns()
        captured_at = self._clock.utc_now() - timedelta(microseconds=(now_ns - message.captured_ns) // 1000)
        self._still_seq = message.seq - 1 if message.kept_back else self._still_seq
        frame = Frame(message.seq, self._session.pixels(message), message.captured_ns, captured_at, now_ns,
                      Scaling(*message.scaling) if message.scaling else None, self._session.scaled(message),
                      after_still=self._still_seq > self._taken_seq, film_ns=self._film_clock.time_of(message))
        self._copies.serve(frame)
        with self._lock:
            self._dropped["busy"] += message.seq - self._captured - 1 - message.kept_back
            if message.kept_back:
                self._dropped["still"] += message.kept_back
            self._holds[frame.seq] = (self._session, message.slot)
            self._last = message
            self._view = view_of(message) or self._view
            self._rate.append((now_ns, message.seq))
            still = message.still and not self._gate_is_open
            self._still_seq = frame.seq if still else self._still_seq
            dropped = frame if still else self._mailbox.put(frame)
            self._dropped["still" if still else "replaced"] += dropped is not None
        if dropped:
            self.release(dropped)
        self._replacements.worked()
        self._tracker.frame(message.reasons)

    def _on_final(self, message: Final) -> None:
        error = _FINAL_ERRORS[message.error](message.cause)
        if isinstance(error, SourceEnded):
            self._tracker.ended(message.cause)
        else:
            self._tracker.trouble("offline", message.cause)
        self._final = error
        self._session.end(gracefully=True)
        self._mailbox.close()

    def _replace(self, worker: Worker, trouble: Trouble) -> None:
        self._tracker.trouble(trouble.state, trouble.cause)
        if not self._session.end(gracefully=False):
            raise CameraStuck(f"{trouble.cause}; the capture child cannot be killed")
        lived_s = (self._clock.monotonic_ns() - self._session.started_ns) / 1e9
        delay_s = self._replacements.replaced(lived_s, silent=trouble.state == "stalled")
        if delay_s is None:
            raise CameraStuck(f"{self._replacements.limit} capture children in a row gave no frame: {trouble.cause}")
        self._slow_openings = 0 if self._session.gave_frame else self._slow_openings + 1
        if not worker.stopping.wait(delay_s):
            self._session = self._new_session()
            self._session.request(self._scaling, gate_is_open=self._gate_is_open)

    def _new_session(self, child: Child | None = None) -> Session:
        settings = replace(self._settings, slow_openings=self._slow_openings)
        return Session(settings, self._module, self._captured + 1, self._clock, child)

    @property
    def _captured(self) -> int:
        return self._last.seq if self._last else 0

    def _fps(self) -> float:
        """Return the recent frames per second, or 0 when none came for as long as a stall."""
        now_ns = self._clock.monotonic_ns()
        if len(self._rate) < 2 or now_ns - self._rate[-1][0] > self._settings.stall_s * 1e9:
            return 0.0
        (from_ns, from_seq), (to_ns, to_seq) = self._rate[0], self._rate[-1]
        return (to_seq - from_seq) / max(1, to_ns - from_ns) * 1e9
