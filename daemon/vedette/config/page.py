"""The section `page`: what the daemon offers on its local socket, and who may use the page.

Invariants: those of `section`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from vedette.config.addresses import bare_host, host_alone
from vedette.config.section import Section, live, restart

CommandName = Literal["update", "rollback", "snapshot", "pause", "resume", "restart", "feedback", "relearn",
                      "detection", "try", "collect"]


def _listen(value: str) -> str:
    address_of(value)
    return value


def address_of(listen: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPv6]:PORT. Raises: ValueError."""
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not bare or (":" in bare and not host.startswith("[")) or not (port.isascii() and port.isdigit()) \
            or int(port) > 0xFFFF:
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:8780 or [::1]:8780")
    return bare_host(bare, "page"), int(port)


class PageTlsConfig(Section):
    """TLS of the page."""

    cert_file: Path | None = restart(
        None, "PEM file of the page's certificate, and of those between it and the authority.")
    key_file: Path | None = restart(None, "PEM file of the key. null: the key is in cert_file.")

    @model_validator(mode="after")
    def _has_certificate(self) -> Self:
        if self.cert_file is None:
            raise ValueError("expected cert_file")
        return self


class PageConfig(Section):
    """The local socket of the daemon: what a page on this machine, and the commands there, get from it."""

    fps: float = live(5, "Highest number of pictures per second. They are only made while somebody views them.", gt=0,
                      le=30)
    width: int = live(640, "Largest width of these pictures, in pixels. They are never scaled up.", ge=32, le=1920)
    height: int = live(360, "Largest height of these pictures, in pixels.", ge=32, le=1920)
    allow: tuple[CommandName, ...] = live(
        ("pause", "resume", "snapshot", "update"), "Commands that the device obeys when they come over the socket.")
    listen: Annotated[str, AfterValidator(_listen)] = restart(
        "127.0.0.1:8780", "HOST:PORT on which `vedette page` listens. An address beyond loopback needs password_file.")
    daemons: tuple[Path, ...] = restart(
        (), "Sockets of the daemons that the page shows, such as [/run/vedette-gate/socket]. Empty: those of this "
            "machine.")
    history_days: float = restart(
        14, "Days for which the page keeps events, their best pictures, and its curves of health.", gt=0, le=3660)
    history_mb: float = restart(
        100, "Megabytes that these may take. The oldest are deleted first.", ge=1, le=100_000)
    password_file: Path | None = restart(
        None, "File with the password of the page. `vedette page --set-password FILE` writes it. The page needs it on "
              "every address beyond loopback. null: everyone who connects on loopback may use the page.")
    tls: PageTlsConfig | None = restart(
        None, "TLS with these files: {cert_file, key_file}. null: no TLS.")
    hosts: tuple[Annotated[str, AfterValidator(host_alone)], ...] = restart(
        (), "More names of this machine in the address line of a browser, such as cam.example.org behind a proxy. The "
            "page answers under no other names than these and its own.", max_length=100)
    proxy_socket: Path | None = restart(
        None, "Path of a unix socket for a proxy that checks who may use the page. The page believes the proxy's "
              "header Remote-User, and asks for no password. null: no such socket.")
