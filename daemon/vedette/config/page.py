"""The section `page`: what the daemon offers on its local socket.

Invariants: those of `section`.
"""

from __future__ import annotations

from typing import Literal

from vedette.config.section import Section, live

CommandName = Literal["update", "rollback", "snapshot", "pause", "resume", "restart", "feedback", "relearn",
                      "detection"]


class PageConfig(Section):
    """The local socket of the daemon: what a page on this machine, and the commands there, get from it."""

    fps: float = live(5, "Highest number of pictures per second. They are only made while somebody views them.", gt=0,
                      le=30)
    width: int = live(640, "Largest width of these pictures, in pixels. They are never scaled up.", ge=32, le=1920)
    height: int = live(360, "Largest height of these pictures, in pixels.", ge=32, le=1920)
    allow: tuple[CommandName, ...] = live(
        ("pause", "resume", "snapshot", "update"), "Commands that the device obeys when they come over the socket.")
