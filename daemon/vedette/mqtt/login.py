"""The user name and password of a connection; every failure has a message.

Invariants: the password is read again for each connection, since a wrong one may have been replaced; no error message
contains a byte of it; nothing waits: only a regular file is opened.
"""

from __future__ import annotations

from pathlib import Path

from vedette._lib.whole_file import read_whole

LONGEST_STRING = 65_535
"""The bytes that an MQTT string can hold."""
FILE_BYTES_MAX = 1024 * 1024


def user_name(name: str) -> str:
    """Return the name if MQTT can carry it. Raises: ValueError."""
    return _fitting(name, "mqtt.username")


def password(path: Path | None) -> str | None:
    """Return the content of the file without its line end. Raises: ValueError naming the file."""
    if path is None:
        return None
    try:
        secret = read_whole(path, FILE_BYTES_MAX).decode("utf-8-sig")
    except OSError as failure:
        raise ValueError(f"mqtt.password_file {path} cannot be used: {failure.strerror}") from failure
    except UnicodeDecodeError:      # its message, also as a chained cause, would contain bytes of the secret
        raise ValueError(f"{path}: expected a password in UTF-8") from None
    return _fitting(secret.rstrip("\r\n"), str(path))


def _fitting(text: str, what: str) -> str:
    if len(text.encode("utf-8", "replace")) > LONGEST_STRING:
        raise ValueError(f"{what}: longer than the {LONGEST_STRING} bytes that MQTT can carry")
    return text
