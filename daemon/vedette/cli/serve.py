"""`vedette serve`: the detector behind HTTP, for devices that cannot look themselves, with room for a bigger model.

Invariants: beyond loopback nobody is served without a token; SIGTERM and Ctrl-C end what is under way, then the
process, with exit code 0.
"""

from __future__ import annotations

import ipaddress
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.model_arguments import detector_of
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from types import FrameType

EXAMPLE = """example:
  vedette serve --model street.tflite --token-file tokens --port 8801
  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: image/jpeg" --data-binary @porch.jpg \\
    http://127.0.0.1:8801/v1/detect

exit codes: 0; 64 for an address beyond loopback without tokens; 65 when the model cannot be used; 69 when the address
is taken, or without a runtime. docs/cloud.md: behind nginx, with several workers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=Path, required=True, metavar="M", help="a .tflite file")
    parser.add_argument("--labels", dest="labels_file", type=Path, metavar="F",
                        help="one label a line, in place of the model's own")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=between(int, 0, 65535), default=8801, metavar="N", help="(8801); 0: any")
    parser.add_argument("--token-file", type=Path, metavar="F",
                        help="bearer tokens, one a line, read anew for every request; without it: loopback only")
    parser.add_argument("--concurrency", type=between(int, 1, 64), default=4, metavar="N",
                        help="pictures held at once; more are answered 503 (4)")
    parser.add_argument("--max-mb", type=between(float, 0.01, 100), default=8, metavar="N",
                        help="megabytes of a body (8)")
    parser.add_argument("--max-megapixels", type=between(float, 0.01, 64), default=16, metavar="N",
                        help="of a picture (16)")
    parser.add_argument("--score-threshold", type=between(float, 0, 1), metavar="X", help="0-1")
    parser.add_argument("--iou-threshold", type=between(float, 0, 1), metavar="Y", help="0-1")
    parser.add_argument("--max-detections", type=between(int, 1, 1000), metavar="N", help="of one picture")
    parser.add_argument("--runtime", choices=("auto", "litert", "tflite-runtime"))
    parser.add_argument("--threads", type=between(int, 1, 16), metavar="N", help="of the interpreter")
    parser.add_argument("--verbose", action="store_true", help="log every request")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns 0."""
    if args.token_file is None and not _is_loopback(args.host):
        raise UsageError(f"--host {args.host}: expected --token-file beside an address beyond loopback")
    from vedette._lib import logs
    from vedette._lib.sdnotify import Notifier
    from vedette.serve import openapi
    from vedette.serve.server import HttpServer, serve
    from vedette.serve.service import ServeLimits, Service
    from vedette.serve.tokens import Tokens
    from vedette.vision.local import open_detector
    logs.setup(logging.DEBUG if args.verbose else logging.INFO)
    end = _end_on_signals()
    limits = ServeLimits(int(args.max_mb * 1e6), int(args.max_megapixels * 1e6), args.concurrency)
    service = Service(open_detector(detector_of(args)), Tokens(args.token_file), limits, openapi.document().encode())
    try:
        server = HttpServer(args.host, args.port, service)
    except OSError as error:
        service.close()
        raise OSError(error.errno, error.strerror, f"{args.host}:{args.port}") from error
    print(f"serving on {server.address}", file=sys.stderr, flush=True)
    notifier = Notifier()
    notifier.ready()
    serve(server, end.wait)
    notifier.close()
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end_on_signals() -> threading.Event:
    end = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return end
