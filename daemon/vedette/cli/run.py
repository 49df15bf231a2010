"""`vedette run`: the daemon, in the foreground.

Invariants: overrides on the command line win over everything else; with `--frames N` the daemon stops after N results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette run --config /etc/vedette/config.yaml
  vedette run --source street.mp4 --model street.tflite --print --frames 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, metavar="F", help="configuration file (default: built-in defaults)")
    parser.add_argument("--source", help="overrides camera.source")
    parser.add_argument("--model", help="overrides detector.model")
    parser.add_argument("--print", action="store_true",
                        help="print every result: a line each on a terminal, JSON lines otherwise")
    parser.add_argument("--frames", type=between(int, 1, 10**9), metavar="N", help="stop after N results")
    parser.add_argument("--verbose", action="store_true", help="log more")


def run(args: argparse.Namespace) -> int:
    """Run until told to stop; returns the exit code."""
    from vedette.app import Options, run_daemon
    overrides = {key: value for key, value in (("camera.source", args.source), ("detector.model", args.model))
                 if value is not None}
    return run_daemon(Options(config_path=args.config, overrides=overrides, print_results=args.print,
                              stop_after=args.frames, verbose=args.verbose))
