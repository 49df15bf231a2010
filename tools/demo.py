"""Run the daemon against a private broker and print its results: `make run MODEL=… SOURCE=…`.

Invariants: the broker listens on a free port of the loopback only; Ctrl-C, or the end of the source, ends both
processes within two seconds and leaves no file behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
EX_USAGE, EX_UNAVAILABLE = 64, 69


def main() -> int:
    """Start the broker, then the daemon; returns the daemon's exit code."""
    args = _arguments()
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="vedette-run-") as folder:
        port = _free_port()
        broker = _start_broker(Path(folder), port)
        try:
            if not _answers(port, broker):
                print("mosquitto did not start", file=sys.stderr)
                return EX_UNAVAILABLE
            print(f"broker on 127.0.0.1:{port}; follow it with: .venv/bin/vedette tail --port {port}", flush=True)
            return _run_daemon(args, folder, port)
        except KeyboardInterrupt:
            return 130
        finally:
            _end(broker, within_s=0.4)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run")
    parser.add_argument("--model", default="")
    parser.add_argument("--source", default="")
    args, args.rest = parser.parse_known_args()
    if not (args.model and args.source):
        print("make run needs a model and a source, for example:\n"
              "  make run MODEL=street.tflite SOURCE=street.mp4\n"
              "SOURCE is a video file, a folder of images, an RTSP or HTTP address, /dev/video0, or auto.",
              file=sys.stderr)
        sys.exit(EX_USAGE)
    return args


def _start_broker(folder: Path, port: int) -> subprocess.Popen[bytes]:
    binary = shutil.which("mosquitto", path=SBIN)
    if binary is None:
        print("mosquitto is missing; run: make deps", file=sys.stderr)
        sys.exit(EX_UNAVAILABLE)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
    # A session of its own: Ctrl-C in the terminal is for the daemon first, which still has "offline" to say.
    return subprocess.Popen([binary, "-c", str(config)], start_new_session=True)


def _run_daemon(args: argparse.Namespace, folder: str, port: int) -> int:
    environment = {**os.environ, "XDG_STATE_HOME": folder, "VEDETTE_MQTT__HOST": "127.0.0.1",
                   "VEDETTE_MQTT__PORT": str(port)}
    daemon = subprocess.Popen([sys.executable, "-m", "vedette", "run", "--print", "--model", args.model,
                               "--source", args.source, *args.rest], env=environment)
    try:
        return daemon.wait()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)   # impatience must not leave the broker behind
        _end(daemon, within_s=1.3)


def _end(process: subprocess.Popen[bytes], within_s: float) -> None:
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int, broker: subprocess.Popen[bytes]) -> bool:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if broker.poll() is not None:
                return False
            threading.Event().wait(0.05)
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
