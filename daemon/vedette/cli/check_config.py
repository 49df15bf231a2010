"""`vedette check-config`: prints the effective configuration, or every problem in it.

Invariants: standard output has the effective configuration or, with `--json`, always one JSON object; no secret is
printed; exit code 78 when the configuration cannot be used. The command also checks what `run` finds out only later:
the model's file, the trusted root, the update folder, and the options of the synthetic camera.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.camera.settings import kind_of
from vedette.camera.source_hint import missing
from vedette.camera.street.options import is_synthetic, parse_synthetic
from vedette.cli.arguments import add_config_argument
from vedette.config.files import check_file
from vedette.config.load import read_running
from vedette.config.render import plain, render
from vedette.device.identity import state_path_of
from vedette.errors import ConfigError, SourceInvalid

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  vedette check-config --config /etc/vedette/config.yaml

It prints the value of every key, and where the value came from. The state folder of this daemon may have a signed
configuration, which counts too.

exit codes:
   0  The configuration can be used. Standard error has the warnings.
  78  The configuration cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="print only problems and warnings")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object with the keys config, places, warnings; or with the key problems")


def run(args: argparse.Namespace) -> int:
    """Print the effective configuration. Raises: ConfigError with every problem."""
    try:
        loaded = read_running(args.config, state_path_of(args.config, os.environ), checks=CHECKS)
    except ConfigError as error:
        if not args.json:
            raise
        print(json.dumps({"problems": error.problems}))
        return error.exit_code
    if args.json:
        places = {name: str(place) for name, place in loaded.places.items()}
        print(json.dumps({"config": plain(loaded.config), "places": places, "warnings": loaded.warnings}))
        return 0
    if not args.quiet:
        print(render(loaded.config, loaded.places), end="")
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _source_problem(source: str) -> str | None:
    source = source.strip()
    try:
        if is_synthetic(source):
            parse_synthetic(source)
            return None
    except SourceInvalid as error:
        return str(error)
    path = source.removeprefix("file://")
    return None if kind_of(source) != "path" or os.path.lexists(path) else missing(path)


def _model_problem(path: str) -> str | None:
    return check_file("model", Path(path)).problem


def _update_problem(source: str) -> str | None:
    return None if not source.startswith("/") or Path(source).is_dir() else f"{source}: no such folder"


def _root_problem(path: str) -> str | None:
    return check_file("root", Path(path)).problem


CHECKS = {"camera.source": _source_problem, "detector.model": _model_problem, "update.source": _update_problem,
          "update.root": _root_problem}
"""What the daemon would find out only later, by dotted key."""
