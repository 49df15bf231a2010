"""What a command asks of the daemon that holds the store, and the answer: two folders of small files.

    requests/<id>.json    waits; its asker holds a lock on it, so that nobody acts for one who has left
    requests/<id>.taken   the daemon acts on it, or the next one does
    answers/<id>.json     the answer; its asker removes it

Invariants:
- One rename decides whether a request is taken or withdrawn, never both.
- A taken request is answered, by the next daemon if this one dies; one whose id the state has noted as done is answered
  without being done again.
- Whoever holds the state folder's lock is alone: only then a command acts by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vedette._lib.clock import pause
from vedette._lib.durable import Files, make_folder, replace_file, sync_folder, write_all
from vedette._lib.whole_file import read_whole
from vedette.device.identity import StateFolder
from vedette.errors import AlreadyRunning, ModelError, RequestUnanswered
from vedette.store.incoming import create_held, remove_unheld, unusable
from vedette.store.model_store import ModelStore
from vedette.store.release import Sha256
from vedette.store.state import StoreState, Words

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "models"
POLL_S = 0.05
ANSWERS_KEPT = 16
_BYTES_MAX = 1 << 20
_LOOKED_AT_MAX = 256
DONE_BEFORE = "done; the daemon ended before it could say so"

Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Request(_Frozen):
    """What is asked. `sha256` and `upload` (a name in `incoming/`) where the kind needs them."""

    id: Name
    kind: Literal["install", "activate", "rollback"]
    sha256: Sha256 | None = None
    upload: Name | None = None
    force: bool = False


class Answer(_Frozen):
    """How it ended. `exit_code` is what the command ends with; `state` is the store's afterwards, where it tells."""

    id: Name
    ok: bool
    words: Words
    exit_code: Annotated[int, Field(ge=0, le=255)] = 0
    state: StoreState | None = None


def new_id() -> str:
    """Return an id for a request; later ones sort later, as far as the clock tells."""
    return f"{time.time_ns():020d}-{os.getpid()}"


class Asker:
    """The asking side: a command, in the state folder `state`. Raises: StateUnusable where it may not write there."""

    def __init__(self, state: Path, *, files: Files = os) -> None:
        self._state = state
        self._folder = state / MODELS
        self._files = files

    def alone(self) -> StateFolder | None:
        """Return the state folder, held, unless somebody else holds it. Raises: StateUnusable."""
        try:
            return StateFolder(self._state)
        except AlreadyRunning:
            return None

    def ask(self, request: Request, timeout_s: float) -> Answer | StateFolder:
        """Return the daemon's answer or, where no daemon is, the state folder, held: then the caller acts itself.

        It looks every 50 ms. A request that was not taken in time is withdrawn; so it is when we are interrupted.
        Raises: RequestUnanswered, StateUnusable.
        """
        deadline_s = time.monotonic() + timeout_s
        alone = self.alone()
        if alone is not None:
            return alone
        descriptor = self._write(request)
        try:
            return self._wait(request, deadline_s, timeout_s)
        finally:
            self._withdraw(request.id)
            os.close(descriptor)        # from here on nobody waits

    def _wait(self, request: Request, deadline_s: float, timeout_s: float) -> Answer | StateFolder:
        while True:
            alone = self.alone()
            answer = self._answer(request.id)    # after the lock: a daemon that has ended says no more
            if answer is not None:
                if alone is not None:
                    alone.close()
                return answer
            if alone is not None:
                return self._instead(request.id, alone)
            if time.monotonic() >= deadline_s:
                break
            pause(POLL_S)
        if self._withdraw(request.id):
            raise RequestUnanswered(f"{self._state}: in use, but no daemon took the request within {timeout_s:g} s; "
                                    "it is withdrawn, nothing was changed")
        raise RequestUnanswered(f"{self._state}: the daemon has taken the request and not answered within "
                                f"{timeout_s:g} s; `vedette model list` shows what comes of it")

    def _write(self, request: Request) -> int:
        """Lay the request down; returns the descriptor that holds its lock."""
        path = self._folder / "requests" / f"{request.id}.json"
        temporary = path.with_suffix(".new")
        try:
            for folder in (self._folder, path.parent, self._folder / "answers"):
                make_folder(self._files, str(folder))
            descriptor = create_held(temporary, files=self._files)
            with contextlib.ExitStack() as undo:
                undo.callback(os.close, descriptor)
                write_all(self._files, descriptor, request.model_dump_json().encode())
                self._files.fsync(descriptor)
                self._files.replace(str(temporary), str(path))
                sync_folder(self._files, str(path.parent))
                undo.pop_all()
        except OSError as error:
            raise unusable(path, error) from error
        return descriptor

    def _answer(self, request_id: str) -> Answer | None:
        path = self._folder / "answers" / f"{request_id}.json"
        try:
            answer = Answer.model_validate_json(read_whole(path, _BYTES_MAX))
        except (OSError, ValueError):
            return None
        for done in (self._folder / "requests" / f"{request_id}.taken", path):     # should the daemon have died since
            with contextlib.suppress(OSError):
                done.unlink()
        return answer

    def _withdraw(self, request_id: str) -> bool:
        try:
            (self._folder / "requests" / f"{request_id}.json").unlink()
        except OSError:
            return False
        return True

    def _instead(self, request_id: str, alone: StateFolder) -> Answer | StateFolder:
        """We are alone: whoever took the request is dead. What it had done already, the state says."""
        with contextlib.suppress(OSError):
            (self._folder / "requests" / f"{request_id}.taken").unlink()
        state = ModelStore(self._folder).look()
        if request_id not in state.acted:
            return alone
        alone.close()
        return Answer(id=request_id, ok=True, words=DONE_BEFORE, state=state)


class Inbox:
    """The answering side: the daemon, in the store's `folder`, holding the state folder's lock."""

    def __init__(self, folder: Path, *, files: Files = os) -> None:
        self._requests = folder / "requests"
        self._answers = folder / "answers"
        self._files = files

    def take(self, state: StoreState) -> Request | None:
        """Return a request to act on, or None: first what was taken and not answered, then the oldest that waits.

        A request that the state has noted as done is answered here. Call it again until it returns None, and `answer`
        each; the same request is returned until then. Cheap when nothing is there. Raises: StateUnusable.
        """
        for path in self._waiting():
            request = self._claimed(path)
            if request is None:
                continue
            if request.id not in state.acted:
                return request
            self.answer(Answer(id=request.id, ok=True, words=DONE_BEFORE, state=state))
        return None

    def answer(self, answer: Answer) -> None:
        """Answer a taken request. Raises: StateUnusable; it stays taken."""
        try:
            replace_file(self._answers / f"{answer.id}.json", answer.model_dump_json().encode(), files=self._files)
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(str(self._requests / f"{answer.id}.taken"))
        except OSError as error:
            raise unusable(self._answers, error) from error
        askers_left = sorted(self._answers.glob("*.json"))[:-ANSWERS_KEPT]
        for old in (*askers_left, *self._answers.glob(".*.tmp")):      # we write alone: those are of a daemon that died
            self._remove(old)

    def _waiting(self) -> list[Path]:
        try:
            waiting = sorted(self._requests.iterdir(), key=lambda path: (path.suffix != ".taken", path.name))
        except OSError:
            return []
        return waiting[:_LOOKED_AT_MAX]

    def _claimed(self, path: Path) -> Request | None:
        """Return the request, taken, or None; what nobody waits for is removed."""
        if path.suffix != ".taken" and (remove_unheld(path, files=self._files) or path.suffix == ".new"):
            return None
        try:
            request = Request.model_validate({**json.loads(read_whole(path, _BYTES_MAX).decode()), "id": path.stem})
        except OSError:         # withdrawn meanwhile
            return None
        except (ValueError, TypeError, RecursionError):
            self._remove(path)
            with contextlib.suppress(ValidationError):      # whose name can be no id
                self.answer(Answer(id=path.stem, ok=False, words="not understood by this version of the daemon",
                                   exit_code=ModelError.exit_code))
            return None
        if path.suffix == ".taken":
            return request
        try:
            self._files.replace(str(path), str(path.with_suffix(".taken")))
            sync_folder(self._files, str(self._requests))
        except FileNotFoundError:       # withdrawn meanwhile
            return None
        except OSError as error:
            raise unusable(path, error) from error
        return request

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._files.unlink(str(path))
