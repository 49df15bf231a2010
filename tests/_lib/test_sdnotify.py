"""The line to systemd, over real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette._lib.sdnotify import Notifier


@contextlib.contextmanager
def systemd(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(240)
        listener.bind(address)
        yield listener


@pytest.mark.parametrize("abstract", [False, True])
def test_notifier_speaks_to_both_kinds_of_socket(tmp_path: Path, abstract: bool) -> None:
    """Every message arrives as systemd expects it, over a path and over an abstract name."""
    name = f"vedette-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with systemd("\0" + name if abstract else name) as listener, \
            contextlib.closing(Notifier({"NOTIFY_SOCKET": "@" + name if abstract else name})) as notifier:
        notifier.ready()
        notifier.status("4 frames\nper second")
        notifier.watchdog()
        notifier.reloading()
        notifier.stopping()
        heard = [listener.recv(200).decode() for _ in range(5)]
    assert heard[:3] == ["READY=1", "STATUS=4 frames per second", "WATCHDOG=1"]
    assert heard[3].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[3].rpartition("=")[2].isdecimal()
    assert heard[4] == "STOPPING=1"
    assert notifier.lost == 0


def test_a_slow_board_asks_for_more_time(tmp_path: Path) -> None:
    """Before the start, and after runs that the watchdog ended; without a watchdog there is nothing to ask for."""
    name = str(tmp_path / "notify")
    with systemd(name) as listener, \
            contextlib.closing(Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})) as notifier:
        notifier.starting()
        assert [notifier.allow_longer(hangs) for hangs in (0, 1, 2, 9)] == [None, 60, 120, 300]
        heard = [listener.recv(200).decode() for _ in range(5)]
    assert heard == ["EXTEND_TIMEOUT_USEC=300000000", "STATUS=starting", "WATCHDOG_USEC=60000000",
                     "WATCHDOG_USEC=120000000", "WATCHDOG_USEC=300000000"]
    with contextlib.closing(Notifier({"NOTIFY_SOCKET": name})) as unwatched:
        assert unwatched.allow_longer(3) is None


def test_notifier_survives_a_systemd_that_does_not_read(tmp_path: Path) -> None:
    """Without a listener a message is counted as lost; without the variable nothing happens."""
    deaf, alone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}), Notifier({})
    for notifier in (deaf, alone):
        notifier.ready()
        notifier.close()
        notifier.close()
        notifier.ready()
    assert (deaf.lost, alone.lost) == (1, 0)


def test_a_full_socket_is_waited_for_briefly(tmp_path: Path) -> None:
    """A listener that reads nothing lets no call wait for ever: the message is lost and counted."""
    name = str(tmp_path / "notify")
    with systemd(name), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, \
            contextlib.closing(Notifier({"NOTIFY_SOCKET": name})) as notifier:
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x", name)
        notifier.watchdog()
        assert notifier.lost == 1
