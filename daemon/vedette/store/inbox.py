"""Carries a command's request to the daemon that holds the store, and the response back: two folders of small files.

    requests/<id>.json    waits; the command that sent it holds a lock on it while it waits
    requests/<id>.taken   claimed by the daemon; if that daemon dies, the next one acts on it
    answers/<id>.json     the response; the command removes it

Invariants:
- One rename decides whether a request is claimed or withdrawn, never both.
- Nobody acts on a waiting request whose lock is free: its command has left.
- A claimed request gets a response, from the next daemon if this one dies. If the state lists its id as done, it gets
  the response without being done again. The next daemon knows whether its command has ended.
- Only one process holds the state folder's lock. A command acts by itself only while it holds that lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from vedette._lib.clock import pause
from vedette._lib.durable import Files, make_folder, replace_file, sync_folder, write_all
from vedette._lib.whole_file import read_whole
from vedette.device.identity import StateFolder
from vedette.errors import AlreadyRunning, ModelError, RequestUnanswered
from vedette.store.frozen import FrozenModel, PrintableText
from vedette.store.incoming import create_locked, remove_unlocked, write_error
from vedette.store.model_store import ModelStore
from vedette.store.release import Sha256
from vedette.store.state import StoreState

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

MODELS = "models"
POLL_S = 0.05
RESPONSES_KEPT = 16
_BYTES_MAX = 1 << 20
_REQUESTS_READ_MAX = 256
DONE_BEFORE = "done; the daemon ended before it could send the response"

Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$")]


class Request(FrozenModel):
    """What a command wants. `sha256` and `upload` (a name in `incoming/`) are set where the kind needs them."""

    id: Name
    kind: Literal["install", "activate", "rollback"]
    sha256: Sha256 | None = None
    upload: Name | None = None
    force: bool = False


class Response(FrozenModel):
    """How the request ended. The command exits with `exit_code`. `state`: the store's afterwards, None if unknown."""

    id: Name
    ok: bool
    words: PrintableText
    exit_code: Annotated[int, Field(ge=0, le=255)] = 0
    state: StoreState | None = None


def new_id() -> str:
    """Return an id for a request. A later id sorts later, as long as the clock does not step back."""
    return f"{time.time_ns():020d}-{os.getpid()}"


class RequestClient:
    """The command's side, in the state folder `state`. Raises: StateUnusable where it may not write there."""

    def __init__(self, state: Path, *, files: Files = os) -> None:
        self._state = state
        self._folder = state / MODELS
        self._files = files

    def lock_if_free(self) -> StateFolder | None:
        """Return the locked state folder, or None if another process holds the lock. Raises: StateUnusable."""
        try:
            return StateFolder(self._state)
        except AlreadyRunning:
            return None

    def send(self, request: Request, timeout_s: float) -> Response | StateFolder:
        """Return the daemon's response. If no daemon runs, return the locked state folder: the caller then acts itself.

        It polls every 50 ms. A request that is not claimed in time is withdrawn; an interrupt withdraws it too.
        Raises: RequestUnanswered, StateUnusable.
        """
        deadline_s = time.monotonic() + timeout_s
        locked = self.lock_if_free()
        if locked is not None:
            return locked
        descriptor = self._write(request)
        try:
            return self._wait(request, deadline_s, timeout_s)
        finally:
            self._withdraw(request.id)
            os.close(descriptor)        # releases the lock: this command no longer waits

    def _wait(self, request: Request, deadline_s: float, timeout_s: float) -> Response | StateFolder:
        while True:
            locked = self.lock_if_free()
            response = self._read_response(request.id)    # after the lock: a daemon that has ended writes no more
            if response is not None:
                if locked is not None:
                    locked.close()
                return response
            if locked is not None:
                return self._after_daemon_left(request.id, locked)
            if time.monotonic() >= deadline_s:
                break
            pause(POLL_S)
        if self._withdraw(request.id):
            raise RequestUnanswered(f"{self._state}: in use, but no daemon accepted the request within "
                                    f"{timeout_s:g} s; the request is withdrawn and nothing was changed")
        raise RequestUnanswered(f"{self._state}: the daemon accepted the request but sent no response within "
                                f"{timeout_s:g} s; `vedette model list` shows the result later")

    def _write(self, request: Request) -> int:
        """Write the request; returns the descriptor that holds its lock."""
        path = self._folder / "requests" / f"{request.id}.json"
        temporary = path.with_suffix(".new")
        try:
            for folder in (self._folder, path.parent, self._folder / "answers"):
                make_folder(self._files, str(folder))
            descriptor = create_locked(temporary, files=self._files)
            with contextlib.ExitStack() as undo:
                undo.callback(os.close, descriptor)
                write_all(self._files, descriptor, request.model_dump_json().encode())
                self._files.fsync(descriptor)
                self._files.replace(str(temporary), str(path))
                sync_folder(self._files, str(path.parent))
                undo.pop_all()
        except OSError as error:
            raise write_error(path, error) from error
        return descriptor

    def _read_response(self, request_id: str) -> Response | None:
        path = self._folder / "answers" / f"{request_id}.json"
        try:
            response = Response.model_validate_json(read_whole(path, _BYTES_MAX))
        except (OSError, ValueError):
            return None
        # The daemon removes the first file itself, unless it died after it wrote the response.
        for done in (self._folder / "requests" / f"{request_id}.taken", path):
            with contextlib.suppress(OSError):
                done.unlink()
        return response

    def _withdraw(self, request_id: str) -> bool:
        try:
            (self._folder / "requests" / f"{request_id}.json").unlink()
        except OSError:
            return False
        return True

    def _after_daemon_left(self, request_id: str, locked: StateFolder) -> Response | StateFolder:
        """This command holds the lock, so a daemon that claimed the request is dead. The state shows what it did."""
        with contextlib.suppress(OSError):
            (self._folder / "requests" / f"{request_id}.taken").unlink()
        state = ModelStore(self._folder).read()
        if request_id not in state.acted:
            return locked
        locked.close()
        return Response(id=request_id, ok=True, words=DONE_BEFORE, state=state)


class Inbox:
    """The daemon's side, in the store's `folder`. The daemon holds the state folder's lock."""

    def __init__(self, folder: Path, *, files: Files = os) -> None:
        self._requests = folder / "requests"
        self._responses = folder / "answers"
        self._files = files
        self._left = {path.stem: moment for path in self._requests.glob("*.taken") if (moment := _left_at(path))}

    def made_before_start(self, request_id: str) -> datetime | None:
        """Return when this request was made, if an earlier daemon claimed it and its command has ended; else None."""
        return self._left.get(request_id)

    def next_request(self, state: StoreState) -> Request | None:
        """Claim a request and return it, or return None. Claimed ones without a response come first, then the oldest.

        A request that the state lists as done gets its response here. Call it until it returns None, and call `respond`
        for each request; until then it returns the same request. Cheap when nothing waits. Raises: StateUnusable.
        """
        for path in self._waiting():
            request = self._claim(path)
            if request is None:
                continue
            if request.id not in state.acted:
                return request
            log.info("%s requested, and done before the daemon ended", request.kind)
            self.respond(Response(id=request.id, ok=True, words=DONE_BEFORE, state=state))
        return None

    def respond(self, response: Response) -> None:
        """Write the response to a claimed request. Raises: StateUnusable; the request then stays claimed."""
        try:
            replace_file(self._responses / f"{response.id}.json", response.model_dump_json().encode(),
                         files=self._files)
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(str(self._requests / f"{response.id}.taken"))
        except OSError as error:
            raise write_error(self._responses, error) from error
        unread = sorted(self._responses.glob("*.json"))[:-RESPONSES_KEPT]
        for old in (*unread, *self._responses.glob(".*.tmp")):      # only daemons write here: a .tmp is from a dead one
            self._remove(old)

    def _waiting(self) -> list[Path]:
        try:
            waiting = sorted(self._requests.iterdir(), key=_claimed_first)
        except OSError:
            return []
        return waiting[:_REQUESTS_READ_MAX]

    def _claim(self, path: Path) -> Request | None:
        """Return the claimed request, or None. A request whose command has left is removed."""
        if path.suffix != ".taken":
            left = remove_unlocked(path, files=self._files)
            if left:
                log.warning("a request was not begun (%s): its command has ended, so nothing is done", path.stem)
            if left or path.suffix == ".new":
                return None
        try:
            request = Request.model_validate({**json.loads(read_whole(path, _BYTES_MAX).decode()), "id": path.stem})
        except OSError:         # withdrawn meanwhile
            return None
        except (ValueError, TypeError, RecursionError):
            self._remove(path)
            with contextlib.suppress(ValidationError):      # the file's name is no valid id
                self.respond(Response(id=path.stem, ok=False, exit_code=ModelError.exit_code,
                                      words="this version of the daemon cannot read the request"))
            return None
        if path.suffix == ".taken":
            return request
        try:
            self._files.replace(str(path), str(path.with_suffix(".taken")))
            sync_folder(self._files, str(self._requests))
        except FileNotFoundError:       # withdrawn meanwhile
            return None
        except OSError as error:
            raise write_error(path, error) from error
        return request

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._files.unlink(str(path))


def _left_at(path: Path) -> datetime | None:
    """Return when a request was made for whose response no command waits; None if one does."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        finally:
            os.close(descriptor)
    return None


def _claimed_first(path: Path) -> tuple[bool, str]:
    return path.suffix != ".taken", path.name
