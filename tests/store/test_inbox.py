"""Requests of commands to a live daemon: claimed or withdrawn, answered once, by the next daemon if this one dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from tests.support.daemon.as_nobody import as_nobody
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import wait_until
from vedette._lib.durable import Files, replace_file
from vedette.device.identity import StateFolder
from vedette.errors import RequestUnanswered, StateUnusable
from vedette.store.inbox import RESPONSES_KEPT, Inbox, Request, RequestClient, Response, new_id
from vedette.store.incoming import create_locked
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed, StoreState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COMMAND = """
import sys
from pathlib import Path
from vedette.store.incoming import create_locked
from vedette.store.inbox import Request, RequestClient
RequestClient(Path(sys.argv[1])).send(Request(id="killed", kind="rollback"), 60)
"""


class WaitingCommand:
    """A command that waits for its response on a thread of its own."""

    def __init__(self, state: Path, request: Request, timeout_s: float = 60) -> None:
        self.outcome: object = None
        self._thread = threading.Thread(target=self._send, args=(state, request, timeout_s))
        self._thread.start()

    def _send(self, state: Path, request: Request, timeout_s: float) -> None:
        try:
            self.outcome = RequestClient(state).send(request, timeout_s)
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

    def claim(self) -> Request:
        """Wait for a request and claim it."""
        claimed: list[Request] = []

        def polled() -> bool:
            request = self.inbox.next_request(self.store.state)
            claimed.extend([request] if request else [])
            return bool(claimed)

        assert wait_until(polled)
        return claimed[0]

    def dies(self) -> None:
        self.folder.close()


def request(kind: Literal["install", "activate", "rollback"] = "rollback", **more: Any) -> Request:
    return Request(id=new_id(), kind=kind, **more)


def answered(command: WaitingCommand) -> Response:
    """Return the response that ends the command."""
    response = command.ended()
    assert isinstance(response, Response)
    return response


def waiting(state: Path) -> set[str]:
    return {path.name for path in (state / "models" / "requests").iterdir()}


def test_a_daemon_answers(tmp_path: Path) -> None:
    """The request and the response arrive unchanged, and no file stays behind."""
    daemon = Daemon(tmp_path)
    sent = request("install", sha256="0" * 64, upload="a.loose", force=True)
    waiting_command = WaitingCommand(tmp_path, sent)
    assert daemon.claim() == sent
    assert daemon.inbox.next_request(daemon.store.state) == sent       # until it is answered
    answer = Response(id=sent.id, ok=False, words="golden frames differ", exit_code=65, state=daemon.store.state)
    daemon.inbox.respond(answer)
    assert waiting_command.ended() == answer
    assert waiting(tmp_path) == set()
    assert list((tmp_path / "models" / "answers").iterdir()) == []
    assert daemon.inbox.next_request(daemon.store.state) is None
    daemon.dies()


def test_without_a_daemon_the_command_gets_the_lock(tmp_path: Path) -> None:
    """It gets the locked state folder, and nothing is written."""
    locked = RequestClient(tmp_path).send(request(), 5)
    assert isinstance(locked, StateFolder)
    assert not (tmp_path / "models").exists()
    assert RequestClient(tmp_path).lock_if_free() is None
    locked.close()


def test_a_command_gets_the_lock_when_the_daemon_ends(tmp_path: Path) -> None:
    """A request that was not claimed is withdrawn under the lock: nobody acts on it later."""
    daemon = Daemon(tmp_path)
    waiting_command = WaitingCommand(tmp_path, request())
    assert wait_until(lambda: waiting(tmp_path) != set())
    daemon.dies()
    locked = waiting_command.ended()
    assert isinstance(locked, StateFolder)
    assert waiting(tmp_path) == set()
    locked.close()


def test_a_request_that_nobody_claims_is_withdrawn(tmp_path: Path) -> None:
    """The command ends in time with a message, and no daemon finds the request afterwards."""
    daemon = Daemon(tmp_path)
    with pytest.raises(RequestUnanswered, match=r"no daemon accepted the request within 0\.2 s; .* is withdrawn"):
        RequestClient(tmp_path).send(request(), 0.2)
    assert daemon.inbox.next_request(daemon.store.state) is None
    daemon.dies()


@pytest.mark.slow
def test_a_claimed_request_cannot_be_withdrawn(tmp_path: Path) -> None:
    """The command says that the daemon accepted it; the daemon still has it."""
    daemon = Daemon(tmp_path)
    sent = request()
    waiting_command = WaitingCommand(tmp_path, sent, timeout_s=2)
    assert daemon.claim() == sent
    assert "the daemon accepted the request but sent no response within 2 s" in str(waiting_command.ended())
    assert daemon.inbox.next_request(daemon.store.state) == sent
    daemon.dies()


def test_the_next_daemon_gets_a_claimed_request(tmp_path: Path) -> None:
    """A claimed request survives the daemon that claimed it."""
    first = Daemon(tmp_path)
    (tmp_path / "models" / "requests" / "left.taken").write_text('{"id": "left", "kind": "rollback"}')
    first.dies()
    second = Daemon(tmp_path)
    assert second.claim() == Request(id="left", kind="rollback")
    second.dies()


def test_the_next_daemon_knows_whether_the_command_waits(tmp_path: Path) -> None:
    """Of a command that waits nothing is reported. Of one that has ended, the time of its request is known."""
    daemon, sent = Daemon(tmp_path), request()
    (tmp_path / "models" / "requests" / "left.taken").write_text('{"id": "left", "kind": "rollback"}')
    command = WaitingCommand(tmp_path, sent)
    assert wait_until(lambda: f"{sent.id}.json" in waiting(tmp_path))
    (tmp_path / "models" / "requests" / f"{sent.id}.json").rename(
        tmp_path / "models" / "requests" / f"{sent.id}.taken")
    inbox = Inbox(tmp_path / "models")
    assert inbox.made_before_start(sent.id) is None
    assert inbox.made_before_start("left") is not None
    inbox.respond(Response(id=sent.id, ok=True, words="done"))
    command.ended()
    daemon.dies()


def test_a_done_request_is_not_done_again(tmp_path: Path) -> None:
    """If a daemon dies between the change and the response, the next daemon or the command itself finds it done."""
    daemon = Daemon(tmp_path)
    sent = request()
    waiting_command = WaitingCommand(tmp_path, sent)
    daemon.claim()
    daemon.store.change(daemon.store.state.with_done_request(sent.id))
    taken = tmp_path / "models" / "requests" / f"{sent.id}.taken"
    left = taken.read_bytes()
    daemon.dies()
    answer = waiting_command.ended()
    assert isinstance(answer, Response)
    assert (answer.ok, answer.exit_code) == (True, 0)
    assert "done" in answer.words
    assert waiting(tmp_path) == set()

    taken.write_bytes(left)
    daemon = Daemon(tmp_path)
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert json.loads((tmp_path / "models" / "answers" / f"{sent.id}.json").read_bytes())["ok"] is True
    daemon.dies()


def test_an_answered_request_is_not_done_again(tmp_path: Path) -> None:
    """If a daemon dies right after the response, the next one does not act on a request that was refused."""
    daemon = Daemon(tmp_path)
    sent = request()
    waiting_command = WaitingCommand(tmp_path, sent)
    daemon.claim()
    refusal = Response(id=sent.id, ok=False, words="no previous model", exit_code=65)
    replace_file(tmp_path / "models" / "answers" / f"{sent.id}.json", refusal.model_dump_json().encode())
    assert waiting_command.ended() == refusal
    daemon.dies()
    daemon = Daemon(tmp_path)
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    daemon.dies()


def test_nobody_acts_for_a_command_that_was_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel frees its lock, so its request is removed, and the log says so."""
    daemon = Daemon(tmp_path)
    with BoundedPopen([sys.executable, "-c", COMMAND, str(tmp_path)]) as command:
        try:
            assert wait_until(lambda: "killed.json" in waiting(tmp_path))
        finally:
            command.send_signal(signal.SIGKILL)
            command.wait(60)
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    assert "(killed): its command has ended, so nothing is done" in caplog.text
    daemon.dies()


def test_requests_are_claimed_in_order(tmp_path: Path) -> None:
    """The oldest comes first, and a claimed one before any new one."""
    daemon = Daemon(tmp_path)
    first = request()
    commands = [WaitingCommand(tmp_path, first)]
    assert daemon.claim() == first
    second = request("activate", sha256="1" * 64).model_copy(update={"id": "0-before-a-step-of-the-clock"})
    commands.append(WaitingCommand(tmp_path, second))
    assert wait_until(lambda: f"{second.id}.json" in waiting(tmp_path))
    for sent in (first, second):
        assert daemon.claim() == sent
        daemon.inbox.respond(Response(id=sent.id, ok=True, words=sent.kind))
    assert [answered(one).words for one in commands] == ["rollback", "activate"]
    daemon.dies()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"kind": "fly"}', b"[" * 100_000,
                                     b'{"kind": "install", "upload": "../x"}'])
def test_an_unreadable_request_is_answered(tmp_path: Path, content: bytes) -> None:
    """A command of another version gets a refusal, not silence."""
    daemon = Daemon(tmp_path)
    (tmp_path / "models" / "requests" / "odd.taken").write_bytes(content)
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    answer = Response.model_validate_json((tmp_path / "models" / "answers" / "odd.json").read_bytes())
    assert (answer.ok, answer.exit_code) == (False, 65)
    daemon.dies()


def test_files_without_a_valid_id_are_removed(tmp_path: Path) -> None:
    """So is a half-written request whose writer has died."""
    daemon = Daemon(tmp_path)
    folder = tmp_path / "models" / "requests"
    (folder / "-x.taken").write_bytes(b"{")
    (folder / "half.new").write_bytes(b"{")
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert waiting(tmp_path) == set()
    assert list((tmp_path / "models" / "answers").iterdir()) == []
    daemon.dies()


def test_a_request_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    """Its writer has locked it; a writer whose file was removed before it could lock it starts again."""
    daemon = Daemon(tmp_path)
    path = tmp_path / "models" / "requests" / "writing.new"
    descriptor = create_locked(path)
    assert daemon.inbox.next_request(daemon.store.state) is None
    assert path.exists()
    os.close(descriptor)

    class TidiedOnce:
        """The first file is removed after it was created, before it can be locked."""

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
    os.close(create_locked(path, files=cast(Files, files)))
    assert (path.exists(), files.opened) == (True, 2)
    daemon.dies()


def test_unread_responses_are_bounded(tmp_path: Path) -> None:
    """Only the latest stay."""
    daemon = Daemon(tmp_path)
    for number in range(RESPONSES_KEPT + 5):
        daemon.inbox.respond(Response(id=f"{number:03}", ok=True, words="done"))
    kept = {path.stem for path in (tmp_path / "models" / "answers").iterdir()}
    assert kept == {f"{number:03}" for number in range(5, RESPONSES_KEPT + 5)}
    daemon.dies()


def test_a_half_written_response_is_removed(tmp_path: Path) -> None:
    """A daemon was killed while it wrote: the next response removes its temporary file."""
    store = ModelStore(tmp_path / "models")
    store.recover()
    cut = store.folder / "answers" / ".001.json.4711.tmp"
    cut.write_bytes(b"{")
    Inbox(store.folder).respond(Response(id="002", ok=True, words="done"))
    assert [path.name for path in cut.parent.iterdir()] == ["002.json"]


def test_a_response_with_a_full_state_fits(tmp_path: Path) -> None:
    """As many refusals as the state keeps, each with the longest message."""
    state = StoreState()
    for number in range(64):
        model = Installed(sha256=f"{number:064x}", size=1, name="é" * 300)
        state = state.staged(model).dropped_candidate("ü" * 300, NOW)
    daemon = Daemon(tmp_path)
    sent = request()
    waiting_command = WaitingCommand(tmp_path, sent)
    daemon.claim()
    daemon.inbox.respond(Response(id=sent.id, ok=True, words="done", state=state))
    assert answered(waiting_command).state == state
    daemon.dies()


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except StateUnusable as error:
        return str(error)
    return "it was not"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_another_user_is_reported(tmp_path: Path) -> None:
    """StateUnusable gives the reason, and no file stays behind."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    daemon = Daemon(tmp_path)
    assert "Permission denied" in as_nobody(lambda: refused(lambda: RequestClient(tmp_path).send(request(), 1)))
    assert waiting(tmp_path) == set()
    daemon.dies()
