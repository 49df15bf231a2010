"""The file of a configuration, and the files that it names: where a relative `*_file` is, and whether it can be used.

Invariants: no content is kept or printed; the name of a missing secret file is not printed, because somebody may have
written the secret in place of the name; a relative `*_file` is searched for in the systemd credentials first, then
beside the configuration (or in the working folder, when the name comes from the environment or the command line).
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from pathlib import Path

from vedette.errors import ConfigError

_SECRET_FILES = {"credentials_file", "password_file", "token_file", "key_file"}
_MAX_BYTES = 256 * 1024
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Why a file cannot be used, or what is doubtful about it. Both are None when the file is fine."""

    problem: str | None = None
    warning: str | None = None


def expanded(name: str) -> str:
    """Return the path with the home folder in place of a leading `~` or `~user`, if there is one."""
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:    # no such user
        return name


def resolve(name: str, folder: Path, credentials: Path | None) -> Path:
    """Return the path of a `*_file`. A relative name starts from `folder`."""
    if credentials is not None and not Path(name).is_absolute() and _exists(credentials / name):
        return credentials / name
    return folder / name


def check_file(key: str, path: Path, searched: tuple[Path, ...] = ()) -> FileCheck:
    """Check the file that a key names (the key's last part, `password_file`). Only a regular file is opened.

    `searched`: the folders in which a relative name was searched for.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            return FileCheck(problem=f"{path}: {what}; expected a file")
        with path.open("rb") as file:
            content = file.read(64)
    except OSError as error:
        if error.errno in _NOT_THERE and searched and key in _SECRET_FILES:
            return FileCheck(problem=f"{error.strerror} in {' or '.join(map(str, searched))}; the name is not shown, "
                                     "because it may be the secret itself")
        return FileCheck(problem=f"{path}: cannot be read: {error.strerror}")
    if not content.strip():
        return FileCheck(problem=f"{path}: is empty")
    if key in _SECRET_FILES and mode & stat.S_IROTH:
        return FileCheck(warning=f"{path}: everyone on this machine can read this secret; chmod o-r it")
    return FileCheck()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:   # a name too long, a folder not ours to enter
        return False


def text_of(path: Path) -> str:
    """Return the text of the file. Raises: ConfigError with the reason why it has none."""
    try:
        if path.is_dir():
            raise ConfigError((f"{path}: is a directory; expected a file",))
        if path.exists() and not path.is_file():
            raise ConfigError((f"{path}: is not a regular file",))
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    if len(content) > _MAX_BYTES:
        raise ConfigError((f"{path}: is larger than {_MAX_BYTES // 1024} kB",))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise ConfigError((f"{path}:{line}: is not UTF-8 (byte 0x{content[error.start]:02x})",)) from error
