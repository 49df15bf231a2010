"""Hides passwords and secrets in URLs, and finds out whether one holds a secret.

Invariants:
- Pure, standard library only. Any text is taken, since a text that is not a URL may hold a secret too.
- In doubt it masks or refuses more, not less. Masking goes further than refusing, as it costs less. A word that only
  contains another one is no doubt: `keyframes=1`, `monkey=1`.
- A secret is a password before an @, or the value of a key that sounds like one: `?pwd=x`, `user=a_password=x_ch=1`,
  `/token/x`. What stands between two keys does not matter. All of it may be percent-encoded, as in an address that
  another one carries: `?src=rtsp%3A%2F%2Fme%3Ax%40cam`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

PLACEHOLDERS: Final = ("{user}", "{password}")
"""They stand in a URL for what a file holds."""
_PLACEHOLDER_LOGIN = ":".join(PLACEHOLDERS) + "@"

_SCHEME = r"[a-z][a-z0-9+.-]*://"
_URL = re.compile(rf"({_SCHEME})(.*)", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"[^@]*:.*@", re.DOTALL)
_LOGIN = re.compile(rf"^({_SCHEME})[^/?#]*@", re.IGNORECASE)
_FIRST_LOGIN = re.compile(rf"^(\W?+(?:{_SCHEME})?+).+@", re.IGNORECASE | re.DOTALL)
_PART = r"(?:(?!%2F|%3F|%23)[^/?#&@\s\"'])*"
_INNER_LOGIN = re.compile(rf"((?::|%3A)(?:/|%2F){{2}}){_PART}(?::|%3A){_PART}(@|%40)", re.IGNORECASE)
"""A login whose address stands within a text or an address, or one whose separators are percent-encoded."""
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
_KIND = r"(?:api|app|access|account|auth|private|share|stream|user|client)"
_SEGMENT = re.compile(rf"(?<=/)(?P<name>{_KIND}?[._-]?(?:passw(?:or)?d|pwd|psw|pw|passphrase|passcode|token|secret|"
                      rf"signature|credentials?|bearer|jwt)|{_KIND}[._-]?key)/(?P<value>[^/?#\"']+)", re.IGNORECASE)
_DOUBTFUL_SEGMENT = re.compile(r"(?<=/)(?:key|auth|sig|session)/"
                               r"(?P<value>(?!(?-i:[a-z]+(?:\.\w{2,5})?)(?:[/?#\"']|$))[^/?#\"']+)", re.IGNORECASE)
"""Its value is masked unless it is a plain word or file name, as in `/auth/live.mjpg`. It is not refused."""
_DOUBTFUL: Final = "login"
"""A key whose value is masked and not refused."""

_CERTAIN = (r"passw|passphrase|passcode|pwd|psw|psk|secret|token|credential|signature|hmac|bearer|jwt|kennwort|"
            r"wachtwoord|senha|contrase|"
            r"(?<!com)(?<!by)(?:passe?|pas|pw)$|^(?:pin|otp|sig|sign|auth|authorization|authbasic|creds?|key)$|"
            r"^(?:api|app|access|account|auth|pass|private|shared?|stream|user|client)key$")
_SOUNDS = re.compile(rf"{_CERTAIN}|(?<!mon)(?<!don)(?<!tur)(?<!hot)key$|^auth(?!or(?!i))|^login|login$|"
                     r"sess(?:ion)?(?:id)?$|otp$|cred|hash$|ticket|sig$|(?<!de)(?<!as)sign$|"
                     r"^(?:pin|sid|code)$", re.IGNORECASE)
_IS_ONE = re.compile(_CERTAIN, re.IGNORECASE)
_USER_KEYS = frozenset({"u", "usr", "user", "username", "login"})
"""Beside one of these, `p` is a password."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def without_login(url: str) -> str:
    """Return the URL without user and password before its host."""
    return _LOGIN.sub(r"\1", url)


def masked(text: str) -> str:
    """Return a value in which asterisks replace a possible login and every value that may be a secret."""
    return _values_masked(_FIRST_LOGIN.sub(r"\1***@", text) if _may_have_login(text) else text)


def shown(url: str) -> str:
    """Return the URL as it may be shown: without login, its secrets masked. A text is shown like `masked`, in doubt."""
    plain = without_login(url)
    may_have_password = has_password(plain, is_address=True) and "://[" not in plain    # there the colon is IPv6's
    return masked(plain) if may_have_password else _values_masked(plain)


def has_password(value: str, *, is_address: bool) -> bool:
    """Return whether a value holds a password before an @. `is_address`: it names a host, even without a scheme."""
    value = value.replace(_PLACEHOLDER_LOGIN, "")
    url = _URL.fullmatch(value)
    if url:
        return bool(_PASSWORD.match(url[2]) or _INNER_LOGIN.search(value))
    return is_address and not value.startswith(("/", ".")) and bool(_PASSWORD.match(value))


def has_secret(value: str, *, is_address: bool) -> bool:
    """Return whether a URL or an address has a key that is certainly one of a secret, and a value for it."""
    if not _URL.fullmatch(value) and (not is_address or value.startswith(("/", "."))):
        return False
    return any(_any_word(_IS_ONE, name) and value[start:end].strip() not in ("", *PLACEHOLDERS)
               for name, start, end in _values(value))


def _values_masked(text: str) -> str:
    text = _INNER_LOGIN.sub(r"\1***\2", text)
    shown_parts, at = [], 0
    for name, start, end in _values(text):
        if start >= at and start < end and _any_word(_SOUNDS, name) and text[start:end] not in PLACEHOLDERS:
            shown_parts += [text[at:start], "***"]
            at = end
    return "".join((*shown_parts, text[at:]))


def _values(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each key of a text, with where its value begins and ends."""
    place = _PLACE.match(text)
    after_host = place.end() if place and "://" in text else 0
    found = [(match["name"], match.end(), _end_of_value(text, match.end())) for match in _KEY.finditer(text)
             if match.start() >= after_host or ":" not in match["is"]]      # a colon there belongs to a port
    has_user = any(name.lower() in _USER_KEYS for name, _, _ in found)
    found = [("password" if has_user and name in "pP" else name, start, end) for name, start, end in found]
    if "://" in text:
        found += [(match["name"], *match.span("value")) for match in _SEGMENT.finditer(text, after_host)]
        found += [(_DOUBTFUL, *match.span("value")) for match in _DOUBTFUL_SEGMENT.finditer(text, after_host)]
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


def _any_word(pattern: re.Pattern[str], name: str) -> bool:
    """Return whether a word of a key matches. A key is `api_key`, `apiKey` or `api-key`, and may be encoded twice."""
    words = _CAMEL.sub("_", unquote(unquote(name)))
    return any(map(pattern.search, re.split(r"[\W_]+", words)))


def _may_have_login(text: str) -> bool:
    return "@" in text and ("://" in text or bool(_PASSWORD.match(text)))
