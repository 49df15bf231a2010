"""`vedette doctor`: examines this machine and says what to do about what it finds.

Invariants: a bad configuration is one finding among others (the rest is examined with the defaults); exit code 0 when
nothing fails, else 69; with `--json` standard output is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.check_result import Check, Subject
from vedette.cli.checks import examine, nearest_existing
from vedette.config.load import read
from vedette.config.models import Config
from vedette.device.board import Board
from vedette.device.identity import state_path
from vedette.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXAMPLE = """example:
  vedette doctor --config /etc/vedette/config.yaml"""

EXIT_UNAVAILABLE = 69
COLORS = {"ok": "\033[32m", "warn": "\033[33m", "fail": "\033[31m"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, metavar="F", help="configuration file (default: built-in defaults)")
    parser.add_argument("--json", action="store_true", help="one JSON object: ok, checks")


def run(args: argparse.Namespace) -> int:
    """Examine everything; returns 0 when nothing fails, else 69."""
    done = []
    for check in _examine(args.config):
        done.append(check)
        if not args.json:
            print(_line(check, colored=sys.stdout.isatty()), flush=True)
    healthy = all(check.state != "fail" for check in done)
    if args.json:
        print(json.dumps({"ok": healthy, "checks": [asdict(check) for check in done]}))
    return 0 if healthy else EXIT_UNAVAILABLE


def _examine(path: Path | None) -> Iterator[Check]:
    config, check = _read_config(path)
    yield check
    # Where the state folder is still to be made, its disk is that of the folder above it.
    disk = nearest_existing(state_path(os.environ).absolute())
    yield from examine(Subject(config, Board(disk), os.environ))


def _read_config(path: Path | None) -> tuple[Config, Check]:
    try:
        loaded = read(path)
    except ConfigError as error:
        return Config(), Check("config", "fail", "; ".join(error.problems), "correct what is named")
    if loaded.warnings:
        return loaded.config, Check("config", "warn", "; ".join(loaded.warnings), "see docs/config.md")
    return loaded.config, Check("config", "ok", str(path or "built-in defaults"))


def _line(check: Check, *, colored: bool) -> str:
    state = f"{COLORS[check.state]}{check.state:4}\033[0m" if colored else f"{check.state:4}"
    remedy = f"\n{'':20} -> {check.remedy}" if check.remedy else ""
    return f"{state} {check.name:14} {check.words}{remedy}"
