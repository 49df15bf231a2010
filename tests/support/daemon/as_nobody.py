"""Runs a function in a forked child, also as a user without rights: as root, who may do everything, it proves nothing.
"""

from __future__ import annotations

import codecs
import grp  # noqa: F401 - see as_nobody
import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from tests.support.waiting.fair_clock import PATIENCE_S

NOBODY = 65534
T = TypeVar("T")


def as_nobody(call: Callable[[], T]) -> T:
    """Return the call's result (or fail with its trace); call it as the present user if that is not root."""
    if os.geteuid() != 0:
        return call()
    codecs.lookup("utf-8-sig")       # loaded before the fork, as grp is: nobody may not read this Python's library

    def call_as_nobody() -> T:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return call()

    return in_fork(call_as_nobody)


def in_fork(call: Callable[[], T]) -> T:
    """Return the call's result, or fail with its trace; a child that hangs, at a lock of another thread, is killed."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # other threads: the child touches nothing of theirs
        child = os.fork()
    if child == 0:
        try:
            answer: tuple[bool, object] = (True, call())
        except BaseException:  # noqa: BLE001 - the parent fails with it
            answer = (False, traceback.format_exc())
        finally:
            os.write(writer, pickle.dumps(answer))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if not select.select([pipe], [], [], PATIENCE_S)[0]:
            os.kill(child, signal.SIGKILL)
        answered = pipe.read()
    os.waitpid(child, 0)
    assert answered, "the child did not answer"
    done, value = pickle.loads(answered)  # noqa: S301 - our own child's
    assert done, value
    return cast(T, value)


def give_away(folder: Path) -> None:
    """Make the user `nobody` the owner of a folder and its content."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
