"""The supervisor: start order, exact reverse on stop, watchdog only from progress, failures end the daemon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemon.notify_socket import NotifySocket
from vedette._lib.sdnotify import Notifier
from vedette._lib.worker import Worker
from vedette.errors import CameraStuck
from vedette.supervisor import EXIT_INTERNAL, TICK_S, Part, Supervisor

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _signals_restored() -> Iterator[None]:
    """The supervisor installs handlers in this very process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as one:
        yield one


@pytest.fixture
def notifier(systemd: NotifySocket) -> Iterator[Notifier]:
    with closing(Notifier(systemd.environ)) as one:
        yield one


def idle(worker: Worker) -> None:
    while not worker.stopping.wait(0.05):
        worker.beat()


class Rig:
    """A supervisor over idle workers, and a record of what happened."""

    def __init__(self, notifier: Notifier, names: tuple[str, ...] = ("mqtt", "capture", "detect"),
                 run: Callable[[Worker], None] = idle) -> None:
        self.diary: list[str] = []
        self.done: str | None = None
        self.supervisor = Supervisor(notifier)
        self.workers = {name: Worker(name, run, on_end=self.supervisor.worker_ended) for name in names}
        self.made = [self.part(name) for name in names]
        self.on_tick: Callable[[], object] = lambda: None

    def run(self) -> int:
        return self.supervisor.run(self)

    def parts(self) -> list[Part]:
        return self.made

    def reload(self) -> None:
        self.diary.append("reload")

    def ended(self) -> str | None:
        return self.done

    def status_line(self) -> str:
        return "ok: watching"

    def part(self, name: str) -> Part:
        def start() -> None:
            self.diary.append(f"start {name}")
            self.workers[name].start()

        def stop() -> None:
            self.diary.append(f"stop {name}")
            self.workers[name].stop(60)
        return Part(name, start, stop, self.workers[name])

    def tick(self) -> None:
        self.on_tick()


def test_stop_is_the_exact_reverse_of_start(systemd: NotifySocket, notifier: Notifier) -> None:
    """Parts stop in the reverse of their start order, and systemd receives READY and STOPPING."""
    rig = Rig(notifier)
    rig.on_tick = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert rig.run() == 0
    assert rig.diary == ["start mqtt", "start capture", "start detect", "stop detect", "stop capture", "stop mqtt"]
    received = systemd.received()
    assert received[0] == "READY=1"
    assert received[-1] == "STOPPING=1"
    assert "STATUS=ok: watching" in received


def test_a_part_that_cannot_start_stops_those_before_it(notifier: Notifier) -> None:
    """No part keeps running, and the error reaches the caller."""
    rig = Rig(notifier)

    def refuse() -> None:
        raise OSError("no more processes")
    rig.made = [rig.part("mqtt"), Part("capture", refuse, lambda: rig.diary.append("stop capture"))]
    with pytest.raises(OSError, match="no more processes"):
        rig.run()
    assert rig.diary == ["start mqtt", "stop mqtt"]


@pytest.mark.parametrize(("code", "ends_with"), [(0, EXIT_INTERNAL), (74, 74)])
def test_a_part_that_fails_to_stop_keeps_no_other_running(code: int, ends_with: int, notifier: Notifier) -> None:
    """All parts before it stop too; its failure is the daemon's exit code unless there was an earlier one."""
    rig = Rig(notifier)

    def fail() -> None:
        raise ZeroDivisionError("in the publishing code")
    rig.made[1] = Part("capture", lambda: None, fail)
    rig.on_tick = lambda: rig.supervisor.stop(code, "enough")
    assert rig.run() == ends_with
    assert rig.diary == ["start mqtt", "start detect", "stop detect", "stop mqtt"]
    assert ("capture failed to stop: in the publishing code" in rig.supervisor.why) == (code == 0)


def test_a_main_loop_that_fails_stops_every_part(notifier: Notifier) -> None:
    """The failure reaches the caller after all parts have stopped, also where one fails to stop for the same reason."""
    rig = Rig(notifier)

    def fail() -> None:
        raise ZeroDivisionError("in the publishing code")
    rig.made[1] = Part("capture", lambda: None, fail)
    rig.on_tick = fail
    with pytest.raises(ZeroDivisionError):
        rig.run()
    assert rig.diary == ["start mqtt", "start detect", "stop detect", "stop mqtt"]
    assert rig.supervisor.why == "the main thread died"


def test_the_watchdog_is_fed_only_while_every_heartbeat_is_fresh(systemd: NotifySocket, notifier: Notifier) -> None:
    """One worker that hangs is enough to stop the watchdog messages, and it is named."""
    hang = threading.Event()
    blocked = threading.Event()

    def hangs(worker: Worker) -> None:
        worker.beat(0.2)
        blocked.wait(60)
    rig = Rig(notifier, ("detect",), hangs)
    ticks: list[int] = []

    def on_tick() -> None:
        ticks.append(1)
        if rig.supervisor.late_workers() == ("detect",) and not hang.is_set():
            hang.set()
            systemd.received()
            ticks.clear()
        if hang.is_set() and len(ticks) == 8:   # two seconds of a hung worker
            blocked.set()
            rig.supervisor.stop(0, "the test has seen enough")
    rig.on_tick = on_tick
    rig.run()
    received = systemd.received()
    assert "WATCHDOG=1" not in received
    assert "STATUS=ok: watching" in received      # the status line still goes out


def test_a_heartbeat_that_is_late_for_an_instant_is_no_hang(notifier: Notifier) -> None:
    """As after a pause of the whole process: only a worker that is late at two looks is reported."""
    def waits(worker: Worker) -> None:
        worker.stopping.wait(60)
    rig = Rig(notifier, ("detect",), waits)
    due_in_s, reported = iter((-1.0, 60.0, -1.0, -1.0, 60.0)), []

    def on_tick() -> None:
        reported.append(rig.supervisor.late_workers())
        due_s = next(due_in_s, None)
        if due_s is None:
            rig.supervisor.stop(0, "enough")
        else:
            rig.workers["detect"].beat(due_s)
    rig.on_tick = on_tick
    rig.run()
    assert reported == [(), (), (), (), ("detect",), ()]


def test_the_watchdog_is_fed_while_all_make_progress(systemd: NotifySocket, notifier: Notifier) -> None:
    """With fresh heartbeats WATCHDOG is sent about once a second."""
    rig = Rig(notifier)
    ticks: list[int] = []

    def on_tick() -> None:
        ticks.append(1)
        if len(ticks) == 6:
            rig.supervisor.stop(0, "enough")
    rig.on_tick = on_tick
    rig.run()
    assert "WATCHDOG=1" in systemd.received()


@pytest.mark.parametrize(("failure", "code"), [(CameraStuck("ten children gave no frame"), 74),
                                               (ZeroDivisionError(), EXIT_INTERNAL)])
def test_a_failed_worker_ends_the_daemon_with_its_code(failure: Exception, code: int, notifier: Notifier) -> None:
    """An error with an exit code ends with it, an unexpected one with 70; everything is stopped in order."""
    def fails(worker: Worker) -> None:
        raise failure
    rig = Rig(notifier, ("capture",), fails)
    assert rig.run() == code
    assert rig.diary == ["start capture", "stop capture"]


def test_a_worker_that_ends_by_itself_is_a_failure(notifier: Notifier) -> None:
    """A loop that returns without a request must not leave a daemon that looks alive."""
    rig = Rig(notifier, ("detect",), lambda worker: None)
    assert rig.run() == EXIT_INTERNAL


def test_a_worker_that_has_finished_ends_the_daemon_with_0(notifier: Notifier) -> None:
    """The end of a file is no failure."""
    rig = Rig(notifier, ("detect",), lambda worker: None)
    rig.done = "the file ended"
    assert rig.run() == 0


def test_hangup_reloads_and_notifies_systemd(systemd: NotifySocket, notifier: Notifier) -> None:
    """SIGHUP reloads between RELOADING=1 with its monotonic time and READY=1."""
    rig = Rig(notifier)
    ticks: list[int] = []

    def on_tick() -> None:
        ticks.append(1)
        if len(ticks) == 1:
            os.kill(os.getpid(), signal.SIGHUP)
        if "reload" in rig.diary:
            rig.supervisor.stop(0, "reloaded")
    rig.on_tick = on_tick
    rig.run()
    received = systemd.received()
    begun = received.index("RELOADING=1")
    assert received[begun + 1].startswith("MONOTONIC_USEC=")
    assert "READY=1" in received[begun:]


def test_a_signal_to_stop_overtakes_waiting_commands(notifier: Notifier) -> None:
    """A flood of commands does not delay the stop that the service manager requested."""
    rig = Rig(notifier)

    def act() -> None:
        rig.diary.append("act")
        os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10):
        rig.supervisor.call(act)
    assert rig.run() == 0
    assert rig.diary.count("act") == 1


def test_a_handler_longer_than_the_wait_does_not_stop_the_loop(notifier: Notifier) -> None:
    """Stacks are written to a slow terminal: the main loop goes on, whatever the time when the handler returns."""
    rig = Rig(notifier)
    ticked, handled = threading.Semaphore(0), []
    rig.on_tick = ticked.release

    def handler(*_: object) -> None:
        handled.append(1)
        until_s = time.monotonic() + 2 * TICK_S
        while time.monotonic() < until_s:
            pass

    def ask() -> None:
        while len(handled) < 3 and ticked.acquire(timeout=20):
            os.kill(os.getpid(), signal.SIGUSR2)     # the main thread has begun to wait, or soon will
        rig.supervisor.call(lambda: rig.supervisor.stop(0, "asked"))     # this wakes it in any case
    signal.signal(signal.SIGUSR2, handler)
    asker = threading.Thread(target=ask)
    asker.start()
    rig.run()
    asker.join()
    assert len(handled) >= 3
