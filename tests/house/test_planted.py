"""The search for planted secrets finds them: a search without finds would prove nothing."""

import base64
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tests.support.truth.planted import found, plant

WAYS: dict[str, Callable[[str], str]] = {
    "plain": str, "percent": lambda text: quote(text, safe=""), "form": quote_plus, "json": json.dumps, "repr": repr,
    "shell": shlex.quote, "upper": str.upper, "half": lambda text: text[:len(text) // 2 + 3],
    "hex": lambda text: text.encode().hex(), "bytes": lambda text: repr(text.encode()),
    "escape": lambda text: text.encode("unicode_escape").decode(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "longer name": lambda text: base64.urlsafe_b64encode(f"admin:{text}!".encode()).decode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pattern", ["{}", "p%ä@:/{}\"'\\ $&\n"])
def test_a_secret_is_found_in_any_encoding(way: str, pattern: str) -> None:
    """Another secret is not found."""
    secret, other = plant("password", pattern), plant("token")
    (place,) = found([other, secret], "the log", b"before " + WAYS[way](secret.text).encode() + b" after")
    assert place.startswith("password in the log: ")
