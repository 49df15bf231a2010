"""What may be shown of a URL, and whether one holds a password.

Invariants: pure, standard library only; takes any text, since what is no URL may hold a password too; in doubt more is
masked or refused, not less.
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
    """Return one value without what may be a login or a secret of a query in it; asterisks stand for those."""
    return _QUERY.sub(r"\1***", _FIRST_LOGIN.sub(r"\1***@", text) if _may_have_login(text) else text)


def shown(url: str) -> str:
    """Return the URL as it may be told: without login, a query's secrets masked."""
    return _QUERY.sub(r"\1***", without_login(url))


def has_password(value: str, *, is_address: bool) -> bool:
    """Whether a value holds a password before an @. `is_address`: it names a host, even where it has no scheme."""
    url = _URL.fullmatch(value)
    rest = url[2] if url else value if is_address and not value.startswith(("/", ".")) else ""
    return bool(_PASSWORD.match(rest))


def _may_have_login(text: str) -> bool:
    return "@" in text and ("://" in text or bool(_PASSWORD.match(text)))
