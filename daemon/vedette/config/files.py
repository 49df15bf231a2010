"""The files a configuration names: where a relative `*_file` leads, and whether it can be used.

Invariants: no content is kept or printed, nor the name of a secret's file that is not there: it may be the secret,
written where its file belongs; a relative `*_file` is looked for among the systemd credentials first,
then beside the configuration (or in the working folder, when it came from the environment or the command line).
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from pathlib import Path

_SECRET_FILES = {"credentials_file", "password_file", "token_file", "key_file"}
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a named file cannot be used, or what is doubtful about it; both None when all is well."""

    problem: str | None = None
    warning: str | None = None


def resolve(name: str, folder: Path, credentials: Path | None) -> Path:
    """Return where a `*_file` lies. `folder` is what a relative name starts from."""
    if credentials is not None and not Path(name).is_absolute() and _exists(credentials / name):
        return credentials / name
    return folder / name


def examine(key: str, path: Path, looked_in: tuple[Path, ...] = ()) -> Verdict:
    """Look at the file a key (its last part, `password_file`) names. Touches nothing but a regular file.

    `looked_in`: the folders that a relative name was looked for in.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return Verdict(problem=f"{path}: not a file")
        with path.open("rb") as file:
            content = file.read(64)
    except OSError as error:
        if error.errno in _NOT_THERE and looked_in and key in _SECRET_FILES:
            return Verdict(problem=f"{error.strerror} in {' or '.join(map(str, looked_in))}; its name is not repeated, "
                                   "in case it is the secret itself")
        return Verdict(problem=f"{path}: cannot be read: {error.strerror}")
    if not content.strip():
        return Verdict(problem=f"{path}: is empty")
    if key in _SECRET_FILES and mode & stat.S_IROTH:
        return Verdict(warning=f"{path}: everyone on this machine can read this secret; chmod o-r it")
    return Verdict()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:   # a name too long, a folder not ours to enter
        return False
