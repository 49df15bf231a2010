"""The password of the page: one line in a file, from which the password cannot be told.

Invariants:
- The file has the password's scrypt hash with its salt and parameters, in the usual form: $scrypt$ln=14,r=8,p=5$…$….
- A file in which a plain password may stand is refused, and so is one that everyone on the machine can read.
- No password is kept, logged or repeated. After the first right one, a keyed digest of it is in memory. Its key is
  random and new in each process. So a script that sends the password with each request costs next to nothing.
- At most one scrypt runs at a time, because each takes 16 MiB of memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from vedette._lib.durable import replace_file
from vedette._lib.whole_file import read_whole
from vedette.errors import ConfigError, UsageError

SHORTEST, LONGEST_BYTES = 8, 1024
_LOG_N, _R, _P = 14, 8, 5
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY_MAX = 64 << 20
_P_MAX = 32
_FILE_BYTES_MAX = 4096
_LINE = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)\s*")


@dataclass(frozen=True, slots=True)
class _Hash:
    """What the line says."""

    log_n: int
    r: int
    p: int
    salt: bytes
    value: bytes

    def of(self, password: bytes) -> bytes:
        return hashlib.scrypt(password, salt=self.salt, n=1 << self.log_n, r=self.r, p=self.p, dklen=len(self.value),
                              maxmem=2 * _MEMORY_MAX)


class Password:
    """Verifies the password, on any thread. Raises: ConfigError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._hash = _read(path)
        self._key = os.urandom(32)
        self._known: bytes | None = None
        self._lock = threading.Lock()

    def verify(self, password: bytes) -> bool:
        """Return whether this is the password. It takes equally long for every wrong one."""
        if len(password) > LONGEST_BYTES:
            return False
        digest = hmac.digest(self._key, password, "sha256")
        with self._lock:
            if self._known is not None:
                return hmac.compare_digest(digest, self._known)
            is_right = hmac.compare_digest(self._hash.of(password), self._hash.value)
            if is_right:
                self._known = digest
        return is_right


def write_password(path: Path, password: str) -> None:
    """Write the file, readable by its owner alone. Raises: UsageError, OSError."""
    content = password.encode()
    if len(password) < SHORTEST or len(content) > LONGEST_BYTES:
        raise UsageError(f"expected a password of at least {SHORTEST} characters, and at most {LONGEST_BYTES} bytes")
    salt = os.urandom(_SALT_BYTES)
    value = _Hash(_LOG_N, _R, _P, salt, bytes(_HASH_BYTES)).of(content)
    line = f"$scrypt$ln={_LOG_N},r={_R},p={_P}${_text(salt)}${_text(value)}\n"
    replace_file(path, line.encode(), 0o600)


def _read(path: Path) -> _Hash:
    """Return what the file says. Raises: ConfigError, which repeats nothing of it."""
    try:
        text = read_whole(path, _FILE_BYTES_MAX).decode("ascii", "replace")
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError((f"page.password_file: {path}: cannot be read: {error.strerror}",)) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError((f"page.password_file: {path}: everyone on this machine can read or write it; chmod o= it",))
    found = _LINE.fullmatch(text)
    hashed = _parsed(*found.groups()) if found else None
    if hashed is None:
        message = (f"page.password_file: {path}: expected the line that `vedette page --set-password {path}` writes, "
                   "and no plain password")
        raise ConfigError((message,))
    return hashed


def _parsed(log_n: str, r: str, p: str, salt: str, value: str) -> _Hash | None:
    """Return the parts of the line, or None if they cannot be or cost too much."""
    try:
        hashed = _Hash(int(log_n), int(r), int(p), _bytes(salt), _bytes(value))
    except binascii.Error:
        return None
    is_usable = (0 < hashed.log_n < 32 and hashed.r > 0 and 0 < hashed.p <= _P_MAX
                 and (128 * hashed.r) << hashed.log_n <= _MEMORY_MAX
                 and len(hashed.salt) >= _SALT_BYTES // 2 and len(hashed.value) >= _HASH_BYTES // 2)
    return hashed if is_usable else None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
