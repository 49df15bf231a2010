"""Checks of the hosts and URLs that people type: each part must stand in its own key and form.

Invariants: pure; nothing is resolved or connected; every refusal is a ValueError that begins with "expected" and says
where the part belongs; the value itself is never repeated, since it may hold a secret.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from vedette.net.urls import without_login

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_BRACKETS = re.compile(r"\[([^\]]*)\](:.*)?")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}\w)?|_[\w-]{0,62}")
_LONGEST_NAME = 253
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtp", "udp", "tcp", "srt", "file")
"""Schemes that FFmpeg opens as a stream, and `file`. A path and `synthetic?…` have no scheme."""
_WITH_HOST = frozenset(("rtsp", "rtsps", "http", "https", "rtmp"))
"""The others may listen on any address: `udp://@:1234`."""
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def bare_host(value: str, section: str) -> str:
    """Return a host name or address that stands alone; other parts belong in keys of `section`. Raises: ValueError."""
    if _SCHEME.match(value):
        raise ValueError("expected a host name or address without a scheme: "
                         f"a port belongs in {section}.port, TLS in {section}.tls")
    bracketed = _BRACKETS.fullmatch(value)
    if bracketed:
        where = f": the port belongs in {section}.port" if bracketed[2] else ""
        raise ValueError(f"expected the IPv6 address without brackets{where}")
    if "/" in value:
        raise ValueError("expected a host name or address without a path")
    if "@" in value:
        raise ValueError(f"expected a host name or address without a user name: it belongs in {section}.username")
    name, colon, _ = value.rpartition(":")
    if colon and not _is_ipv6(value):
        if ":" in name and not _is_ipv6(name):
            raise ValueError("expected a host name, an IPv4 address or a whole IPv6 address")
        raise ValueError(f"expected a host name or address alone: the port belongs in {section}.port")
    if not _is_ipv6(value):
        _check_name(value)
    return value


def host_alone(value: str) -> str:
    """Return a host name or address as it stands in an address line, in lower case. Raises: ValueError."""
    name = value.lower().removesuffix(".")
    if not _is_ipv6(name):
        if any(each in value for each in ":/@[]"):
            raise ValueError("expected a host name or address alone, without scheme, port, brackets and path")
        _check_name(name)
    return name


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on this host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"


def web_url(value: str, *, plain_anywhere: bool) -> str:
    """Return an https:// URL, or http:// on loopback or `plain_anywhere`, whose host and port are in order.

    Raises: ValueError.
    """
    parts, host = _split(value)
    allowed = parts.scheme == "https" or (
        parts.scheme == "http" and (plain_anywhere or bool(_LOOPBACK.fullmatch(host or ""))))
    if not allowed or not host:
        raise ValueError("expected https://…, or http:// on loopback" if not plain_anywhere else
                         "expected http://… or https://… with a host")
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("expected one URL without spaces")
    if ":" not in host:
        _check_name(host)
    return value


def no_number(value: object) -> object:
    """Return a camera's source, unless it is a number as OpenCV takes it. Raises: ValueError."""
    if type(value) is int:
        raise ValueError(f"expected a name such as /dev/video{max(value, 0)}")
    return value


def camera_source(value: str) -> str:
    """Return a camera's source, its scheme in lower case; the host of a URL is in order. Raises: ValueError."""
    scheme, colon, rest = value.strip().partition("://")
    if not colon:
        return scheme
    if scheme.lower() not in SCHEMES:
        raise ValueError(f"expected a path or one of {', '.join(f'{known}://' for known in SCHEMES)}")
    url = f"{scheme.lower()}://{rest}"
    if scheme.lower() in _WITH_HOST:
        _check_host(url)
    return url


def _check_host(url: str) -> None:
    _, host = _split(without_login(url))
    if not host:
        raise ValueError("expected a host behind the scheme, such as rtsp://192.168.1.20:554/…")
    if ":" not in host:
        _check_name(host)


def _split(value: str) -> tuple[SplitResult, str | None]:
    """Split a URL and check its port. Raises: ValueError."""
    try:
        parts = urlsplit(value)
    except ValueError as error:
        if "[" in value or "]" in value:
            raise ValueError("expected a URL whose IPv6 address stands in brackets: https://[::1]:8801/…") from error
        raise ValueError("expected a URL whose host has only usual letters") from error
    login, _, place = parts.netloc.rpartition("@")
    if login:
        raise ValueError("expected a URL without a user name before its host")
    if not place.startswith("[") and place.count(":") > 1:
        raise ValueError("expected a URL with one port at most, and an IPv6 address in brackets: https://[::1]:8801/…")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("expected a URL whose port is a number from 1 to 65535") from error
    if port == 0 or place.endswith(":"):
        raise ValueError("expected a URL whose port is a number from 1 to 65535")
    return parts, parts.hostname


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_name(name: str) -> None:
    """Raises: ValueError unless the text is an IPv4 address or may be the name of a host."""
    if re.fullmatch(r"[\d.]+", name):
        try:
            ipaddress.IPv4Address(name)
        except ValueError as error:
            raise ValueError("expected an IPv4 address of four numbers from 0 to 255, or a host name") from error
    elif len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, name.removesuffix(".").split("."))):
        raise ValueError("expected one host name of letters, digits, hyphens and dots, or an address")
