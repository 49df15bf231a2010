"""`vedette page`: shows daemons of this machine in a browser, and answers Prometheus.

Invariants: it is a process of its own, which a daemon does not notice; an address beyond loopback needs a password;
after SIGTERM or Ctrl-C it ends with exit code 0.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import add_config_argument, file_path
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from vedette._lib.worker import Worker
    from vedette.page.server import PageServer

log = logging.getLogger(__name__)

EXAMPLE = """example:
  vedette page --config /etc/vedette/config.yaml
  vedette page --listen 127.0.0.1:8780
  vedette page --set-password /etc/vedette/page-password

Then open http://127.0.0.1:8780/ on this machine. The guide docs/page.md shows how to reach it from another one.

exit codes:
   0  SIGTERM or Ctrl-C has ended the page.
  64  The command line is wrong.
  69  The address is in use, or a part of the page has ended.
  78  The configuration cannot be used, or an address beyond loopback has no page.password_file."""
HISTORY = "history.sqlite"
STOP_S = 1.0
EX_UNAVAILABLE = 69


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="address to listen on (page.listen: 127.0.0.1:8780)")
    parser.add_argument("--set-password", type=file_path, metavar="FILE",
                        help="ask for a password, or read it from standard input; write its hash to FILE, and end")


def run(args: argparse.Namespace) -> int:
    """Serve the page until a signal arrives, or a part of it ends."""
    if args.set_password is not None:
        return _set_password(args.set_password)
    from vedette._lib import logs
    from vedette._lib.ending import Ending
    from vedette._lib.sdnotify import Notifier
    from vedette.config.load import load
    from vedette.config.page import address_of
    from vedette.device.identity import found_sockets
    from vedette.page.devices import Devices
    from vedette.page.gate import Gate
    from vedette.page.history import History
    from vedette.page.server import PageServer, ProxyServer, serve, share_arena, tls_of
    from vedette.page.service import PageService
    logs.setup(logging.INFO)
    page = load(args.config, for_page=True).page
    try:
        host, port = address_of(args.listen or page.listen)
    except ValueError as error:
        raise UsageError(f"--listen {args.listen}: {error}") from error
    end = Ending()
    failed: list[Worker] = []

    def on_end(worker: Worker) -> None:
        if not worker.stopping.is_set():
            failed.append(worker)
            log.error("%s ended unexpectedly", worker.name, exc_info=worker.failure)
            end.ask()

    history = History(_history_path(), days=page.history_days, mb=page.history_mb)
    find = partial(found_sockets, os.environ) if not page.daemons else partial(tuple, page.daemons)
    devices = Devices(find, history, on_end=on_end)
    share_arena()
    tls = tls_of(page.tls)
    service = PageService(devices, history, Gate(page, host, under_tls=tls is not None))
    servers = [_listening(partial(PageServer, host, port, service, tls), f"{host}:{port}")]
    if page.proxy_socket is not None:
        servers.append(_listening(partial(ProxyServer, page.proxy_socket, service), str(page.proxy_socket)))
    devices.start()
    print(f"page on {servers[0].address}/", file=sys.stderr, flush=True)
    notifier = Notifier()
    notifier.ready()
    serve(servers, end.wait)
    devices.stop(STOP_S)
    history.close()
    notifier.close()
    sys.stderr.flush()
    os._exit(EX_UNAVAILABLE if failed else 0)      # threads that wait for a daemon end here


def _listening(listen: Callable[[], PageServer], place: str) -> PageServer:
    """Return a server that listens. Raises: OSError, which names the place."""
    try:
        return listen()
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from error


def _set_password(path: Path) -> int:
    """Write the file for page.password_file."""
    from vedette.page.passwords import write_password
    if sys.stdin.isatty():
        password = getpass.getpass("New password of the page: ")
        if getpass.getpass("The same again: ") != password:
            raise UsageError("the two passwords differ")
    else:
        password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    write_password(path, password)
    print(f"written: {path}. Name it in page.password_file, and restart the page.", file=sys.stderr)
    return 0


def _history_path() -> Path | None:
    """Return the path of the history, in the page's own state folder; None if there can be none."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or Path(os.environ.get("HOME") or "/", ".local", "state")
    folder = Path(given) if given else Path(home, "vedette-page")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("%s: %s; the history is kept in memory only", folder, error.strerror)
        return None
    return folder / HISTORY
