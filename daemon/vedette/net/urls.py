"""Hides passwords and secrets in URLs, and finds out whether one holds a secret.

Invariants:
- Pure, standard library only. Any text is taken, since a text that is not a URL may hold a secret too.
- In doubt it masks or refuses more, not less. Masking goes further than refusing, as it costs less.
- A secret is a password before an @, or the value of a key that sounds like one: `?pwd=x`, `user=a_password=x_ch=1`,
  `/password/x`. What stands between two keys does not matter, and a key may be percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

PLACEHOLDERS: Final = ("{user}", "{password}")
"""They stand in a URL for what a file holds."""

_SCHEME = r"[a-z][a-z0-9+.-]*://"
_URL = re.compile(rf"({_SCHEME})(.*)", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"[^@]*:.*@", re.DOTALL)
_LOGIN = re.compile(rf"^({_SCHEME})[^/?#]*@", re.IGNORECASE)
_FIRST_LOGIN = re.compile(rf"^(\W?(?:{_SCHEME})?).*@", re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(rf"^\W?(?:{_SCHEME})?[^/?#]*", re.IGNORECASE)

_NAME = r"(?:[\w.\[\]$-]|%(?!26|2[Ff]|3[AaBbDdFf])[0-9A-Fa-f]{2})+"
_EQUALS = r"(?:=|%3[Dd])"
_IS = rf"[\"']?\s*(?:{_EQUALS}|:(?!//)|%3[Aa])\s*[\"']?"
_KEY = re.compile(rf"(?P<name>{_NAME})(?P<is>{_IS})")
_SOME_KEY = rf"[A-Za-z0-9.\[\]$-]+{_EQUALS}"
_CAMERA_KEYS = "channel|chn?|cam(?:era)?|stream(?:type|id)?|real_stream|subtype|type|profile|user(?:name)?|usr"
_KNOWN_KEY = rf"(?:{_CAMERA_KEYS}){_EQUALS}"
_NEXT = re.compile(rf"(?:[&;?#]|%26|%3[Bb]){_SOME_KEY}|[^A-Za-z0-9%]{_KNOWN_KEY}|[\"'\])}}}}]*$", re.IGNORECASE)
"""A value ends where the next key follows, or at the closing quotes of the text. A value may hold most separators, so
after these only the keys that cameras use end it."""
_NO_VALUE = re.compile(rf"[^A-Za-z0-9%]{_SOME_KEY}")
_SEGMENT = re.compile(r"(?<=/)(?P<name>passw(?:or)?d|pwd|psw|pw|passphrase|passcode)/(?P<value>[^/?#\"']+)",
                      re.IGNORECASE)

_SOUNDS = re.compile(r"pass|pwd|psw|pw|pas$|token|key|secret|auth|sig|cred|login|bearer|jwt|otp|sess|kennwort|"
                     r"(?<![a-z])(?:pin|sid|code)(?![a-z])", re.IGNORECASE)
_IS_ONE = re.compile(r"passw|passphrase|passcode|pwd|psw|secret|token|credential|signature|bearer|jwt|kennwort|"
                     r"(?<!com)(?<!by)(?:pass|pas|pw)$|^(?:pin|otp|sig|sign|auth|cred|creds|key)$|"
                     r"^(?:api|app|access|account|auth|private|shared|stream|user)key$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def without_login(url: str) -> str:
    """Return the URL without user and password before its host."""
    return _LOGIN.sub(r"\1", url)


def masked(text: str) -> str:
    """Return a value in which asterisks replace a possible login and every value that may be a secret."""
    return _values_masked(_FIRST_LOGIN.sub(r"\1***@", text) if _may_have_login(text) else text)


def shown(url: str) -> str:
    """Return the URL as it may be shown: without login, its secrets masked."""
    return _values_masked(without_login(url))


def has_password(value: str, *, is_address: bool) -> bool:
    """Return whether a value holds a password before an @. `is_address`: it names a host, even without a scheme."""
    url = _URL.fullmatch(value)
    if url:
        return bool(_PASSWORD.match(url[2]))
    return is_address and not value.startswith(("/", ".")) and bool(_PASSWORD.match(value))


def has_secret(value: str, *, is_address: bool) -> bool:
    """Return whether a URL or an address has a key that is certainly one of a secret, and a value for it."""
    if not _URL.fullmatch(value) and (not is_address or value.startswith(("/", "."))):
        return False
    return any(_is_one(name) and value[start:end].strip() not in ("", *PLACEHOLDERS)
               for name, start, end in _values(value))


def _values_masked(text: str) -> str:
    shown_parts, at = [], 0
    for name, start, end in _values(text):
        if start >= at and start < end and _SOUNDS.search(unquote(name)) and text[start:end] not in PLACEHOLDERS:
            shown_parts += [text[at:start], "***"]
            at = end
    return "".join((*shown_parts, text[at:]))


def _values(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each key of a text, with where its value begins and ends."""
    place = _PLACE.match(text)
    after_host = place.end() if place and "://" in text else 0
    found = [(match["name"], match.end(), _end_of_value(text, match.end())) for match in _KEY.finditer(text)
             if match.start() >= after_host or ":" not in match["is"]]      # a colon there belongs to a port
    if "://" in text:
        found += [(match["name"], match.start("value"), match.end()) for match in _SEGMENT.finditer(text, after_host)]
    yield from sorted(found, key=_start_of)


def _start_of(found: tuple[str, int, int]) -> int:
    return found[1]


def _end_of_value(text: str, start: int) -> int:
    if _NO_VALUE.match(text, start):
        return start
    for placeholder in PLACEHOLDERS:
        if text.startswith(placeholder, start):
            return start + len(placeholder)
    following = _NEXT.search(text, start)
    return following.start() if following else len(text)


def _is_one(name: str) -> bool:
    words = _CAMEL.sub("_", unquote(name))
    return any(_IS_ONE.search(word) for word in re.split(r"[\W_]+", words)) or bool(
        re.search(r"(?:api|access|auth|private|shared|stream)[\W_]key", words, re.IGNORECASE))


def _may_have_login(text: str) -> bool:
    return "@" in text and ("://" in text or bool(_PASSWORD.match(text)))
