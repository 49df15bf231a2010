"""Hides passwords and secrets in URLs, and finds out whether one holds a password.

Invariants: pure, standard library only; takes any text, since a text that is not a URL may hold a password too; in
doubt it masks or refuses more, not less.
"""

from __future__ import annotations

import re

_SCHEME = r"[a-z][a-z0-9+.-]*://"
_URL = re.compile(rf"({_SCHEME})(.*)", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"[^@]*:.*@", re.DOTALL)
_LOGIN = re.compile(rf"^({_SCHEME})[^/?#]*@", re.IGNORECASE)
_QUERY = re.compile(r"([?&;][^=&;\s]*(?:pass|pwd|psw|token|key|secret|auth|sign|cred|login)[^=&;\s]*=)[^&;\s\"']+",
                    re.IGNORECASE)
_FIRST_LOGIN = re.compile(rf"^(\W?(?:{_SCHEME})?).*@", re.IGNORECASE | re.DOTALL)


def without_login(url: str) -> str:
    """Return the URL without user and password before its host."""
    return _LOGIN.sub(r"\1", url)


def masked(text: str) -> str:
    """Return a value in which asterisks replace a possible login and the secrets of a query."""
    return _QUERY.sub(r"\1***", _FIRST_LOGIN.sub(r"\1***@", text) if _may_have_login(text) else text)


def shown(url: str) -> str:
    """Return the URL as it may be shown: without login, a query's secrets masked."""
    return _QUERY.sub(r"\1***", without_login(url))


def has_password(value: str, *, is_address: bool) -> bool:
    """Return whether a value holds a password before an @. `is_address`: it names a host, even without a scheme."""
    url = _URL.fullmatch(value)
    if url:
        return bool(_PASSWORD.match(url[2]))
    return is_address and not value.startswith(("/", ".")) and bool(_PASSWORD.match(value))


def _may_have_login(text: str) -> bool:
    return "@" in text and ("://" in text or bool(_PASSWORD.match(text)))
