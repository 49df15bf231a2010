"""Runs a function as a user without rights, in a forked child: root may do everything, so as root it proves nothing."""

from __future__ import annotations

import codecs
import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

NOBODY = 65534
T = TypeVar("T")


def as_nobody(call: Callable[[], T]) -> T:
    """Return the call's result (or fail with its trace); call it as the present user if that is not root."""
    if os.geteuid() != 0:
        return call()
    codecs.lookup("utf-8-sig")       # loaded before the fork: nobody may not read this Python's library
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # other threads: the child touches nothing of theirs
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            answer: tuple[bool, object] = (True, call())
        except BaseException:  # noqa: BLE001 - the parent fails with it
            answer = (False, traceback.format_exc())
        finally:
            os.write(writer, pickle.dumps(answer))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        done, value = pickle.loads(pipe.read())  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    assert done, value
    return cast(T, value)


def give_away(folder: Path) -> None:
    """Make the user `nobody` the owner of a folder and its content."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
