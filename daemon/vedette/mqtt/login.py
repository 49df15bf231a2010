"""What a connection logs in with, with every failure in words.

Invariants: the password is read anew for each connection, since it may have been changed because it was wrong; no
error tells a byte of it; nothing waits: what is no regular file is never opened.
"""

from __future__ import annotations

from pathlib import Path

from vedette._lib.whole_file import read_whole

LONGEST_STRING = 65_535
"""Bytes that MQTT can carry."""
FILE_BYTES_MAX = 1024 * 1024


def user_name(name: str) -> str:
    """Return it if MQTT can carry it. Raises: ValueError."""
    return _fitting(name, "mqtt.username")


def password(path: Path | None) -> str | None:
    """Return what the file holds, without its line's end. Raises: ValueError naming the file."""
    if path is None:
        return None
    try:
        secret = read_whole(path, FILE_BYTES_MAX).decode("utf-8-sig")
    except OSError as failure:
        raise ValueError(f"mqtt.password_file {path} cannot be used: {failure.strerror}") from failure
    except UnicodeDecodeError:      # whose words, and those of a chained cause, would tell bytes of the secret
        raise ValueError(f"{path}: expected a password in UTF-8") from None
    return _fitting(secret.rstrip("\r\n"), str(path))


def _fitting(text: str, what: str) -> str:
    if len(text.encode("utf-8", "replace")) > LONGEST_STRING:
        raise ValueError(f"{what}: longer than the {LONGEST_STRING} bytes that MQTT can carry")
    return text
