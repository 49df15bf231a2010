"""`vedette doctor`: checks this machine and says what to do about each problem.

Invariants: a bad configuration is one result among others, and the other checks then use the defaults; exit code 0
when no check fails, else 69; with `--json` standard output is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import add_config_argument
from vedette.cli.checks.machine import nearest_existing, run_checks
from vedette.cli.checks.result import CheckResult, Machine
from vedette.config.load import read_running
from vedette.config.models import Config
from vedette.device.board import Board
from vedette.device.identity import state_path, state_path_of
from vedette.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXAMPLE = """example:
  vedette doctor --config /etc/vedette/config.yaml

exit codes:
   0  No check failed.
  69  At least one check failed."""

EXIT_UNAVAILABLE = 69
COLORS = {"ok": "\033[32m", "warn": "\033[33m", "fail": "\033[31m"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the keys ok and checks")


def run(args: argparse.Namespace) -> int:
    """Run and print every check; returns 0 when none fails, else 69."""
    results = []
    for result in _results(args.config):
        results.append(result)
        if not args.json:
            print(_line(result, colored=sys.stdout.isatty()), flush=True)
    healthy = all(result.state != "fail" for result in results)
    if args.json:
        print(json.dumps({"ok": healthy, "checks": [asdict(result) for result in results]}))
    return 0 if healthy else EXIT_UNAVAILABLE


def _results(path: Path | None) -> Iterator[CheckResult]:
    config, result = _read_config(path)
    yield result
    # If the state folder does not exist yet, its disk is the one of the folder above it.
    disk = nearest_existing(state_path(os.environ).absolute())
    yield from run_checks(Machine(config, Board(disk), os.environ))


def _read_config(path: Path | None) -> tuple[Config, CheckResult]:
    try:
        loaded = read_running(path, state_path_of(path, os.environ))
    except ConfigError as error:
        return Config(), CheckResult("config", "fail", "; ".join(error.problems), "Correct each problem that is named.")
    if loaded.warnings:
        return loaded.config, CheckResult("config", "warn", "; ".join(loaded.warnings),
                                          "Correct each problem that is named.")
    return loaded.config, CheckResult("config", "ok", str(path or "built-in defaults"))


def _line(result: CheckResult, *, colored: bool) -> str:
    state = f"{COLORS[result.state]}{result.state:4}\033[0m" if colored else f"{result.state:4}"
    remedy = f"\n{'':20} -> {result.remedy}" if result.remedy else ""
    return f"{state} {result.name:14} {result.words}{remedy}"
