"""Watch the daemon, with a private broker and its page: `make run`, or `make run MODEL=… SOURCE=…`.

Invariants: broker and page listen only on a free port of the loopback. Ctrl-C, the end of the source, or `--seconds`
ends all processes within two seconds and leaves no file behind. All that the terminal shows came over MQTT, as for any
subscriber.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":      # before main() there is nothing to clean up, and a traceback helps nobody
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tools.demo_figures import Figures
from tools.demo_screen import Lines, Screen, summary
from vedette.camera.street.options import is_synthetic
from vedette.cli import Parser
from vedette.cli.arguments import between
from vedette.cli.broker import connected
from vedette.config.load import load
from vedette.device.identity import known_sockets
from vedette.errors import UsageError, VedetteError
from vedette.messages import topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vedette.camera.street.truth import SyntheticTruth
    from vedette.config.models import CameraConfig
    from vedette.mqtt.command_filter import Incoming
    from vedette.mqtt.connection import Connection

EXAMPLE = """examples:
  make run                                          the drawn street, with the model in the box
  make run SOURCE='synthetic?misbehave=dark:20:5'   the same, but its light fails at times
  make run MODEL=street.tflite SOURCE=street.mp4    a video, a folder of images, an address, /dev/video0, or auto
  make run ARGS=--open                              opens the page in the browser of this desktop
  make run ARGS='--seconds 60'                      it ends after 60 s; other arguments go to `vedette run`"""
DEVICE = "demo"
PAGE_PORT = 8780
STREET = {"VEDETTE_CAMERA__WIDTH": "640", "VEDETTE_CAMERA__HEIGHT": "360", "VEDETTE_CAMERA__FPS": "15",
          "VEDETTE_ZONES": "{pavement: {points: [[0, 0.79], [1, 0.79], [1, 1], [0, 1]], loiter_s: 10}}",
          "VEDETTE_LINES": "{crossing: {from: [0.5, 0.54], to: [0.5, 0.78]}}"}
"""The settings of the drawn street. The zone is the near pavement, the line lies across the road."""
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
DAEMON_LOG, PAGE_LOG = "daemon.log", "page.log"
LOG_TAIL = 12
POLL_S = 0.1
EX_UNAVAILABLE, EX_INTERRUPTED = 69, 130


class DemoError(Exception):
    """The demo cannot continue: the reason and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main() -> int:
    """Show the daemon until it ends or a signal ends it. Return the exit code."""
    # Not an exception: a second Ctrl-C during the cleaning up must leave nothing behind. Nor an Event: a second Ctrl-C
    # during its `set` would wait for ever for the lock in it.
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: stopping.append(got))
    try:
        return _run(_arguments(), stopping)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (DemoError, VedetteError) as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _arguments() -> argparse.Namespace:
    parser = Parser(prog="make run", description="Watch the daemon.", epilog=EXAMPLE, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="a .tflite file (default: the model in the box)")
    parser.add_argument("--source", default="", help="what to watch (default: synthetic)")
    parser.add_argument("--seconds", type=between(float, 0, 10**6), default=10**6, metavar="N",
                        help="end after N seconds")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this desktop")
    args, rest = parser.parse_known_args()
    args.rest = rest
    args.source = args.source or "synthetic"
    if not args.model and not is_synthetic(args.source):
        raise UsageError("the included model detects only things in the drawn street; name your own model: "
                         "make run MODEL=street.tflite SOURCE=street.mp4")
    return args


def _run(args: argparse.Namespace, stopping: Sequence[int]) -> int:
    """Start the broker, subscribe, start the daemon and its page, and show. They end in reverse order."""
    began_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-run-")))
        port = _free_port()
        environment = _environment(args.source, folder, port)
        config = load(None, environ=environment, overrides={"camera.source": args.source})
        broker = start_broker(folder, port)
        stack.callback(_end, broker, within_s=0.4)
        _wait_for(broker, port)
        print(f"broker on 127.0.0.1:{port}; follow it with: .venv/bin/vedette tail --port {port}", flush=True)
        claim = stack.enter_context(socket.socket(socket.AF_UNIX))
        listen = f"127.0.0.1:{_page_port(claim)}"
        print(f"page on http://{listen}/", flush=True)
        connection = stack.enter_context(connected(config.mqtt, [topics.absolute(DEVICE, "#")]))
        daemon = _start_daemon(args, folder, environment)
        stack.callback(_end, daemon, within_s=1.2)
        page = _start(["page", "--listen", listen], folder / PAGE_LOG, environment)
        stack.callback(_end, page, within_s=0.2)
        if args.open:
            threading.Thread(target=_open, args=(listen,), daemon=True).start()
        figures = Figures(_truth(config.camera), began_ns=int(began_s * 1e9))
        show = (Screen if sys.stdout.isatty() else Lines)(config.camera.source, config.mqtt.port, f"http://{listen}/")
        _show(show, figures, connection, (daemon, page), stopping, began_s + args.seconds)
        for process, log in ((daemon, DAEMON_LOG), (page, PAGE_LOG)):
            if (code := process.poll()) and not stopping:
                raise DemoError("\n".join(_log(folder / log)[-LOG_TAIL:]), code)
        print(summary(figures.read()), flush=True)
    return EX_INTERRUPTED if stopping else 0


def _show(show: Screen | Lines, figures: Figures, connection: Connection,
          processes: Sequence[subprocess.Popen[bytes]], stopping: Sequence[int], until_s: float) -> None:
    """Show the messages until a process ends, a signal comes, or the time is over. Raises: BrokerError."""
    with show as screen:
        next_s = time.monotonic()
        running = True
        while running:
            # Checked before the messages are taken, so the last messages of a daemon that ended are among them.
            running = not any(each.poll() is not None for each in processes) and not stopping \
                and time.monotonic() < until_s
            figures.take(_messages(connection))
            if time.monotonic() >= next_s:
                screen.show(figures.read())
                next_s = time.monotonic() + screen.period_s


def _messages(connection: Connection) -> list[Incoming]:
    """Wait a moment for a message. Return it with all that wait after it. Raises: BrokerError."""
    messages = connection.poll(POLL_S)
    while messages and (more := connection.poll(0)):
        messages += more
    return messages


def _truth(camera: CameraConfig) -> SyntheticTruth | None:
    if not is_synthetic(camera.source):
        return None
    from vedette.camera.street.truth import SyntheticTruth
    return SyntheticTruth(camera.source, camera.width, camera.height, camera.fps)


def _environment(source: str, folder: Path, port: int) -> dict[str, str]:
    """Return the daemon's environment: that of the user, and the settings of the demo."""
    own = {"XDG_STATE_HOME": str(folder), "VEDETTE_DEVICE": DEVICE,
           "VEDETTE_MQTT__HOST": "127.0.0.1", "VEDETTE_MQTT__PORT": str(port),
           "VEDETTE_PUBLISH__RESULTS": "all", "VEDETTE_PUBLISH__MAX_PER_S": "240", "VEDETTE_HEALTH__INTERVAL_S": "1",
           "VEDETTE_EVENTS__PICTURES": "on", "VEDETTE_PAGE__ALLOW": "[pause, resume, snapshot, update, try]"}
    environment = {**(STREET if is_synthetic(source) else {}), **os.environ, **own}
    return {**environment, "VEDETTE_PAGE__DAEMONS": f"['{known_sockets(environment)[0]}']"}


def start_broker(folder: Path, port: int, path: str = SBIN) -> subprocess.Popen[bytes]:
    """Start mosquitto from a folder of `path`. Raises: DemoError when it is not there."""
    binary = shutil.which("mosquitto", path=path)
    if binary is None:
        raise DemoError("mosquitto, the MQTT broker, is missing; install it: sudo apt-get install mosquitto",
                        EX_UNAVAILABLE)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
    # In a session of its own: Ctrl-C in the terminal goes to the daemon first, which still publishes "offline".
    return subprocess.Popen([binary, "-c", str(config)], start_new_session=True)


def _start_daemon(args: argparse.Namespace, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    model = ["--model", args.model] if args.model else []
    return _start(["run", "--source", args.source, *model, *args.rest], folder / DAEMON_LOG, environment)


def _start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", "vedette", *command], env=environment, stdout=file, stderr=file)


def _log(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _open(listen: str) -> None:
    """Open the page once it answers. Without a desktop, a browser would take this terminal."""
    host, port = listen.split(":")
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex((host, int(port))) == 0:
                break
        threading.Event().wait(POLL_S)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(f"http://{listen}/")


def _end(process: subprocess.Popen[bytes], within_s: float) -> None:
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _page_port(claim: socket.socket) -> int:
    """Return the page's usual port, or another one if a program has it, or a demo that starts just now."""
    try:
        claim.bind("\0vedette-demo")        # no file: free again when the demo ends
        return _free_port(PAGE_PORT)
    except OSError:
        return _free_port()


def _free_port(wanted: int = 0) -> int:
    with socket.create_server(("127.0.0.1", wanted)) as server:
        return int(server.getsockname()[1])


def _wait_for(broker: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if broker.poll() is not None:
                break
            threading.Event().wait(0.05)
        else:
            return
    raise DemoError("mosquitto did not start", EX_UNAVAILABLE)


if __name__ == "__main__":
    sys.exit(main())
