"""`vedette config apply`: puts keys of one file into the configuration, for good.

Invariants: the result is checked as a whole before anything is written; the old file stays beside; whatever ends the
command, and when, the configuration is the old one or the new one, whole; comments, order, owner and mode stay; no
secret is printed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.cli.arguments import file_path
from vedette.cli.check_config import CHECKS
from vedette.config.changes import differs, is_in, paths_in, value_in
from vedette.config.edit import edited, values_of
from vedette.config.effective import places_by_key
from vedette.config.files import text_of
from vedette.config.keys import keys
from vedette.config.load import read_running
from vedette.config.render import shown
from vedette.device.identity import state_path_of
from vedette.errors import ConfigError, OutputLost

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any

TARGET = Path("/etc/vedette/config.yaml")
EXAMPLE = """example:
  sudo vedette config apply zones.yaml

FILE has some keys, as they stand in the configuration. Each replaces the key of that name; `zones` and `lines` are
replaced as a whole. The old configuration is kept beside the new one, with .bak behind its name. The daemon does not
notice anything until you reload or restart it.

exit codes:
   0  The keys are written, or they were there already.
  69  The configuration cannot be written.
  78  The result would not be a valid configuration. Nothing is written."""
_SHOWN_CHARS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=file_path, metavar="FILE", help="YAML file with the keys to change")
    parser.add_argument("--config", type=file_path, metavar="F", default=TARGET,
                        help=f"configuration file to change (default: {TARGET})")


def run(args: argparse.Namespace) -> int:
    """Check the result and write it. Raises: ConfigError with every problem; OutputLost."""
    target = args.config.resolve()
    loaded = read_running(target, state_path_of(target, os.environ), changes=args.file, checks=CHECKS)
    text = text_of(target)
    try:
        fresh = edited(text, values_of(text_of(args.file)))
    except ConfigError as error:
        raise ConfigError(tuple(f"{target}: {problem}" for problem in error.problems)) from error
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if fresh == text:
        print(f"nothing to change: {target} has these values already")
        return 0
    before, after = values_of(text), values_of(fresh)
    kept = _write(target, fresh)
    changes = [path for path in paths_in(after) if differs(before, after, path)]
    for path in changes:
        print(f"{'.'.join(path)}: {_shown(before, path)} -> {_shown(after, path)}")
    for name, place in places_by_key(loaded.places).items():
        if place.startswith("signed configuration ") and tuple(name.split(".")) in changes:
            print(f"{name}: has no effect now, since {place} wins (update.configuration)")
    print(f"written: {target}\nkept: {kept}\nnext: {_next(target, changes)}")
    return 0


def _write(target: Path, text: str) -> Path:
    """Write the old content beside, then the new one in its place; returns the path of the old one. Raises: OutputLost.
    """
    kept = target.with_name(f"{target.name}.bak")
    try:
        status, before = target.stat(), target.read_bytes()
        replace_file(kept, before, like=status)
        replace_file(target, text.encode(), like=status)
    except PermissionError as error:
        raise OutputLost(f"{error.filename}: {error.strerror}; only root may change it: use sudo") from error
    except OSError as error:
        raise OutputLost(f"{error.filename}: {error.strerror}") from error
    return kept


def _shown(values: Mapping[str, Any], path: tuple[str, ...]) -> str:
    if not is_in(values, path):
        return "default"
    text = shown(value_in(values, path))
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _next(target: Path, changes: Sequence[tuple[str, ...]]) -> str:
    """Return what makes the daemon take the change."""
    waiting = ", ".join(key.name for key in keys() if key.path in changes and key.applies == "restart")
    why = f", because of {waiting}" if waiting else ""
    if target.parent != TARGET.parent:
        return f"restart the daemon{why}" if waiting else "send SIGHUP to the daemon"
    unit = "vedette" if target.name == TARGET.name else f"vedette@{target.stem}"
    page = " vedette-page" if "page." in waiting else ""
    return f"systemctl {'restart' if waiting else 'reload'} {unit}{page}{why}"
