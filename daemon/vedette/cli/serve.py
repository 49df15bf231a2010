"""`vedette serve`: serves a model over HTTP, for devices whose own model cannot run. The model may be a bigger one.

Invariants: a client from beyond loopback has a token, or is in a network that is allowed; after SIGTERM or Ctrl-C the
requests under way are completed, then the process ends with exit code 0. It does not wait for a request that takes
longer than any may.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys
from typing import TYPE_CHECKING

from vedette.cli.arguments import between, file_path
from vedette.cli.detector_arguments import add_detector_arguments, detector_of
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """example:
  vedette serve --model street.tflite --token-file tokens --port 8801
  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: image/jpeg" --data-binary @porch.jpg \\
    http://127.0.0.1:8801/v1/detect
  vedette serve --model street.tflite --host 0.0.0.0 --port 32168 --allow 192.168.1.0/24

The project's guide docs/cloud.md shows how to run the server behind nginx, with several workers. It also shows how
Frigate, Viseron, Blue Iris and Agent DVR use it in place of DeepStack or CodeProject.AI.

exit codes:
   0  SIGTERM or Ctrl-C has ended the server.
  64  The command line is wrong, the token file holds no token, or an address other than loopback has neither such a
      file nor a network that is allowed.
  65  The model cannot be used.
  69  The address is in use, or no TFLite runtime is installed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=file_path, required=True, metavar="M", help="a .tflite file")
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on (127.0.0.1); any other than loopback needs --token-file or --allow")
    parser.add_argument("--port", type=between(int, 0, 65535), default=8801, metavar="N",
                        help="port to listen on (8801); 0: any free port")
    parser.add_argument("--token-file", type=file_path, metavar="F",
                        help="file with one bearer token per line; it is read again for each request")
    parser.add_argument("--allow", dest="networks", type=_network, action="append", default=[], metavar="NET",
                        help="network whose clients need no token, such as 192.168.1.0/24; may be given several times")
    parser.add_argument("--concurrency", type=between(int, 1, 64), default=4, metavar="N",
                        help="images accepted at the same time (4); the server answers further ones with status 503")
    parser.add_argument("--max-mb", type=between(float, 0.01, 100), default=8, metavar="N",
                        help="largest body of a request, in megabytes (8)")
    parser.add_argument("--max-megapixels", type=between(float, 0.01, 64), default=16, metavar="N",
                        help="largest image, in megapixels (16)")
    add_detector_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="log every request")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives; returns 0."""
    from vedette.config.addresses import is_loopback
    _check_host(args.host)
    if args.token_file is None and not args.networks and not is_loopback(args.host):
        raise UsageError(f"--host {args.host}: an address beyond loopback needs --token-file or --allow")
    from vedette._lib import logs
    from vedette._lib.ending import Ending
    from vedette._lib.sdnotify import Notifier
    from vedette.serve import openapi
    from vedette.serve.server import HttpServer, serve
    from vedette.serve.service import ServeLimits, Service
    from vedette.serve.tokens import Tokens
    from vedette.vision.open import open_detector
    if args.token_file is not None:
        _check_tokens(args.token_file)
    logs.setup(logging.DEBUG if args.verbose else logging.INFO)
    end = Ending()
    limits = ServeLimits(int(args.max_mb * 1e6), int(args.max_megapixels * 1e6), args.concurrency)
    service = Service(open_detector(detector_of(args)), Tokens(args.token_file, args.networks), limits,
                      openapi.document().encode())
    try:
        server = HttpServer(args.host, args.port, service)
    except OSError as error:
        service.close()
        raise OSError(error.errno, error.strerror, f"{args.host}:{args.port}") from error
    print(f"serving on {server.address}", file=sys.stderr, flush=True)
    notifier = Notifier()
    notifier.ready()
    ended = serve(server, end.wait)
    notifier.close()
    if not ended:       # a thread in native code must not come back into an interpreter that is being taken down
        sys.stderr.flush()
        os._exit(0)
    return 0


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a network that somebody typed. One address is a network too."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}; expected a network such as 192.168.1.0/24, or one address") from error


def _check_host(host: str) -> None:
    from vedette.config.addresses import bare_host
    try:
        bare_host(host, "mqtt")
    except ValueError as error:
        raise UsageError(f"--host {host}: expected one host name or address, without scheme, brackets, port and path; "
                         "the port belongs in --port") from error


def _check_tokens(path: Path) -> None:
    """Refuse a file that holds no token now. Later ones are read for each request."""
    from vedette.serve.tokens import read_tokens
    expected = "expected a file with one token per line"
    try:
        if not read_tokens(path):
            raise UsageError(f"--token-file {path}: no token in it; {expected}")
    except OSError as error:
        raise UsageError(f"--token-file {path}: {error.strerror}; {expected}") from error
