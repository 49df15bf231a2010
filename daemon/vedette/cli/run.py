"""`vedette run`: runs the daemon in the foreground.

Invariants: a value on the command line replaces every other one; with `--frames N` the daemon stops after N results.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from vedette._lib.sdnotify import Notifier
from vedette.cli.arguments import add_config_argument, between

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette run --config /etc/vedette/config.yaml
  vedette run --source street.mp4 --model street.tflite --print --frames 20

exit codes:
   0  A signal ended the daemon, a file was played to its end, or N results are done.
  64  The command line is wrong.
  65  The model or the source cannot be used.
  69  The runtime is missing, or the state folder cannot be used.
  70  A part of the daemon ended with an unexpected error. The log has the stack.
  74  The camera process cannot be replaced any more.
  78  The configuration cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--source", help="use this in place of camera.source")
    parser.add_argument("--model", help="use this in place of detector.model")
    parser.add_argument("--print", action="store_true",
                        help="print each result: as text on a terminal, otherwise as one JSON object per line")
    parser.add_argument("--frames", type=between(int, 1, 10**9), metavar="N", help="stop after N results")
    parser.add_argument("--verbose", action="store_true", help="log debug messages too")


def run(args: argparse.Namespace) -> int:
    """Run until a signal or the end of the source; returns the exit code."""
    with closing(Notifier()) as notifier:
        notifier.starting()     # before the imports, which take long on a slow board
    from vedette.camera.open import capture_child
    overrides = {key: value for key, value in (("camera.source", args.source), ("detector.model", args.model))
                 if value is not None}
    with capture_child() as child:
        from vedette.app import Options, run_daemon
        return run_daemon(Options(config_path=args.config, overrides=overrides, print_results=args.print,
                                  stop_after=args.frames, verbose=args.verbose), child)
