"""What a command asks of a live daemon: taken or withdrawn, answered once, by the next daemon if this one dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import wait_until
from tests.support.daemon.as_nobody import as_nobody
from vedette._lib.durable import replace_file
from vedette.device.identity import StateFolder
from vedette.errors import RequestUnanswered, StateUnusable
from vedette.store.inbox import ANSWERS_KEPT, Answer, Asker, Inbox, Request, new_id
from vedette.store.incoming import create_held
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed, StoreState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ASKER = """
import sys
from pathlib import Path
from vedette.update.incoming import create_held
from vedette.update.request import Asker, Request
Asker(Path(sys.argv[1])).ask(Request(id="killed", kind="rollback"), 60)
"""


class Asking:
    """A command that waits on a thread of its own."""

    def __init__(self, state: Path, request: Request, timeout_s: float = 60) -> None:
        self.outcome: object = None
        self._thread = threading.Thread(target=self._ask, args=(state, request, timeout_s))
        self._thread.start()

    def _ask(self, state: Path, request: Request, timeout_s: float) -> None:
        try:
            self.outcome = Asker(state).ask(request, timeout_s)
        except RequestUnanswered as error:
            self.outcome = error

    def ended(self) -> object:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome


class Daemon:
    """What a daemon has: the lock, the store, the inbox."""

    def __init__(self, state: Path) -> None:
        self.folder = StateFolder(state, wait_s=5)
        self.store = ModelStore(state / "models")
        self.store.recover()
        self.inbox = Inbox(state / "models")

    def take(self) -> Request:
        taken: list[Request] = []

        def looked() -> bool:
            request = self.inbox.take(self.store.state)
            taken.extend([request] if request else [])
            return bool(taken)

        assert wait_until(looked)
        return taken[0]

    def dies(self) -> None:
        self.folder.close()


def request(kind: str = "rollback", **more: object) -> Request:
    return Request(id=new_id(), kind=kind, **more)


def waiting(state: Path) -> set[str]:
    return {path.name for path in (state / "models" / "requests").iterdir()}


def test_a_daemon_answers(tmp_path: Path):
    """The request arrives as it was given, the answer too, and nothing stays behind."""
    daemon = Daemon(tmp_path)
    asked = request("install", sha256="0" * 64, upload="a.loose", force=True)
    asking = Asking(tmp_path, asked)
    assert daemon.take() == asked
    assert daemon.inbox.take(daemon.store.state) == asked       # until it is answered
    answer = Answer(id=asked.id, ok=False, words="golden frames differ", exit_code=65, state=daemon.store.state)
    daemon.inbox.answer(answer)
    assert asking.ended() == answer
    assert waiting(tmp_path) == set()
    assert list((tmp_path / "models" / "answers").iterdir()) == []
    assert daemon.inbox.take(daemon.store.state) is None
    daemon.dies()


def test_without_a_daemon_the_command_is_alone(tmp_path: Path):
    """It gets the state folder, held, and nothing is written."""
    alone = Asker(tmp_path).ask(request(), 5)
    assert isinstance(alone, StateFolder)
    assert not (tmp_path / "models").exists()
    assert Asker(tmp_path).alone() is None
    alone.close()


def test_a_daemon_that_leaves_leaves_the_command_alone(tmp_path: Path):
    """A request that was not taken is withdrawn under the lock: nobody acts on it later."""
    daemon = Daemon(tmp_path)
    asking = Asking(tmp_path, request())
    assert wait_until(lambda: waiting(tmp_path) != set())
    daemon.dies()
    alone = asking.ended()
    assert isinstance(alone, StateFolder)
    assert waiting(tmp_path) == set()
    alone.close()


def test_a_request_that_nobody_takes_is_withdrawn(tmp_path: Path):
    """In time, in words, and no daemon finds it afterwards."""
    daemon = Daemon(tmp_path)
    with pytest.raises(RequestUnanswered, match=r"no daemon took the request within 0\.2 s; it is withdrawn"):
        Asker(tmp_path).ask(request(), 0.2)
    assert daemon.inbox.take(daemon.store.state) is None
    daemon.dies()


def test_a_request_that_is_taken_cannot_be_withdrawn(tmp_path: Path):
    """The command says that it is under way; the daemon still has it."""
    daemon = Daemon(tmp_path)
    asked = request()
    asking = Asking(tmp_path, asked, timeout_s=2)
    assert daemon.take() == asked
    assert "has taken the request and not answered within 2 s" in str(asking.ended())
    assert daemon.inbox.take(daemon.store.state) == asked
    daemon.dies()


def test_the_next_daemon_answers_what_was_taken(tmp_path: Path):
    """A taken request survives its daemon; the command waits through the change where nobody else got the lock."""
    first = Daemon(tmp_path)
    (tmp_path / "models" / "requests" / "left.taken").write_text('{"id": "left", "kind": "rollback"}')
    first.dies()
    second = Daemon(tmp_path)
    assert second.take() == Request(id="left", kind="rollback")
    second.dies()


def test_what_was_done_is_not_done_again(tmp_path: Path):
    """A daemon that dies between the change and the answer: the next one answers, and so does the command alone."""
    daemon = Daemon(tmp_path)
    asked = request()
    asking = Asking(tmp_path, asked)
    daemon.take()
    daemon.store.change(daemon.store.state.having_acted(asked.id))
    taken = tmp_path / "models" / "requests" / f"{asked.id}.taken"
    left = taken.read_bytes()
    daemon.dies()
    answer = asking.ended()
    assert isinstance(answer, Answer)
    assert (answer.ok, answer.exit_code) == (True, 0)
    assert "done" in answer.words
    assert waiting(tmp_path) == set()

    taken.write_bytes(left)
    daemon = Daemon(tmp_path)
    assert daemon.inbox.take(daemon.store.state) is None
    assert json.loads((tmp_path / "models" / "answers" / f"{asked.id}.json").read_bytes())["ok"] is True
    daemon.dies()


def test_what_was_answered_is_not_done_again(tmp_path: Path):
    """A daemon that dies right after the answer: who has read that it was refused is not surprised later."""
    daemon = Daemon(tmp_path)
    asked = request()
    asking = Asking(tmp_path, asked)
    daemon.take()
    refusal = Answer(id=asked.id, ok=False, words="no previous model", exit_code=65)
    replace_file(tmp_path / "models" / "answers" / f"{asked.id}.json", refusal.model_dump_json().encode())
    assert asking.ended() == refusal
    daemon.dies()
    daemon = Daemon(tmp_path)
    assert daemon.inbox.take(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    daemon.dies()


def test_nobody_acts_for_a_command_that_was_killed(tmp_path: Path):
    """Its lock is gone with it, so its request is void."""
    daemon = Daemon(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ASKER, str(tmp_path)]) as asker:
        try:
            assert wait_until(lambda: "killed.json" in waiting(tmp_path))
        finally:
            asker.send_signal(signal.SIGKILL)
            asker.wait(60)
    assert daemon.inbox.take(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    daemon.dies()


def test_requests_are_taken_in_order(tmp_path: Path):
    """The oldest first, and what was taken before anything new."""
    daemon = Daemon(tmp_path)
    first = request()
    asking = [Asking(tmp_path, first)]
    assert daemon.take() == first
    second = request("activate", sha256="1" * 64)
    asking.append(Asking(tmp_path, second))
    assert wait_until(lambda: len(waiting(tmp_path)) == 2)
    for asked in (first, second):
        assert daemon.take() == asked
        daemon.inbox.answer(Answer(id=asked.id, ok=True, words=asked.kind))
    assert [one.ended().words for one in asking] == ["rollback", "activate"]
    daemon.dies()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"kind": "fly"}', b"[" * 100_000,
                                     b'{"kind": "install", "upload": "../x"}'])
def test_what_is_not_understood_is_answered(tmp_path: Path, content: bytes):
    """A command of another version gets a refusal, not silence."""
    daemon = Daemon(tmp_path)
    (tmp_path / "models" / "requests" / "odd.taken").write_bytes(content)
    assert daemon.inbox.take(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    answer = Answer.model_validate_json((tmp_path / "models" / "answers" / "odd.json").read_bytes())
    assert (answer.ok, answer.exit_code) == (False, 65)
    daemon.dies()


def test_names_that_are_no_ids_are_swept_away(tmp_path: Path):
    """And half a request that nobody writes any more."""
    daemon = Daemon(tmp_path)
    folder = tmp_path / "models" / "requests"
    (folder / "-x.taken").write_bytes(b"{")
    (folder / "half.new").write_bytes(b"{")
    assert daemon.inbox.take(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    assert list((tmp_path / "models" / "answers").iterdir()) == []
    daemon.dies()


def test_a_request_that_is_being_written_is_left_alone(tmp_path: Path):
    """Its writer holds it; a writer whose file was tidied away before it could hold it begins again."""
    daemon = Daemon(tmp_path)
    path = tmp_path / "models" / "requests" / "writing.new"
    descriptor = create_held(path)
    assert daemon.inbox.take(daemon.store.state) is None
    assert path.exists()
    os.close(descriptor)

    class TidiedOnce:
        """Somebody removes what was created, just once, before it can be held."""

        def __init__(self) -> None:
            self.close = os.close
            self.opened = 0

        def open(self, name: str, flags: int, mode: int = 0o777, /) -> int:
            descriptor = os.open(name, flags, mode)
            self.opened += 1
            if self.opened == 1:
                Path(name).unlink()
            return descriptor

    path.unlink()
    files = TidiedOnce()
    os.close(create_held(path, files=files))
    assert (path.exists(), files.opened) == (True, 2)
    daemon.dies()


def test_answers_that_nobody_fetches_are_few(tmp_path: Path):
    """The latest stay."""
    daemon = Daemon(tmp_path)
    for number in range(ANSWERS_KEPT + 5):
        daemon.inbox.answer(Answer(id=f"{number:03}", ok=True, words="done"))
    kept = {path.stem for path in (tmp_path / "models" / "answers").iterdir()}
    assert kept == {f"{number:03}" for number in range(5, ANSWERS_KEPT + 5)}
    daemon.dies()


def test_an_answer_cut_short_is_cleaned_away(tmp_path: Path):
    """What a daemon that was killed left half written is removed with the next answer."""
    store = ModelStore(tmp_path / "models")
    store.recover()
    cut = store.folder / "answers" / ".001.json.4711.tmp"
    cut.write_bytes(b"{")
    Inbox(store.folder).answer(Answer(id="002", ok=True, words="done"))
    assert [path.name for path in cut.parent.iterdir()] == ["002.json"]


def test_an_answer_with_a_full_state_fits(tmp_path: Path):
    """As many refusals as are kept, each with the longest words."""
    state = StoreState()
    for number in range(64):
        model = Installed(sha256=f"{number:064x}", size=1, name="é" * 300)
        state = state.staged(model).dropped_candidate("ü" * 300, NOW)
    daemon = Daemon(tmp_path)
    asked = request()
    asking = Asking(tmp_path, asked)
    daemon.take()
    daemon.inbox.answer(Answer(id=asked.id, ok=True, words="done", state=state))
    assert asking.ended().state == state
    daemon.dies()


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except StateUnusable as error:
        return str(error)
    return "it was not"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_write_is_told(tmp_path: Path):
    """Another user's folder: StateUnusable in words, no trace."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    daemon = Daemon(tmp_path)
    assert "Permission denied" in as_nobody(lambda: refused(lambda: Asker(tmp_path).ask(request(), 1)))
    assert waiting(tmp_path) == set()
    daemon.dies()
