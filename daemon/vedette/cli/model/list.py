"""`vedette model list`: lists the models in the store and the models that were refused.

Invariants: the command only reads, so it can run beside a live daemon and as any user who may read; who may not read
the store, but use the local socket, gets the list from the daemon; a problem of the store is printed on standard error
and does not hide the rest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import file_path
from vedette.errors import DaemonAway, StateUnusable

if TYPE_CHECKING:
    import argparse

    from vedette.store.state import Installed, StoreState

EXAMPLE = """example:
  sudo vedette model list

exit codes:
   0  The list is printed.
  69  The model store cannot be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--state", type=file_path, metavar="DIR",
                        help="state folder (default: that of the installed daemon, else that of the user)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what is in the store. Raises: StateUnusable."""
    from vedette.device.identity import installed_state_path, socket_path
    from vedette.store.inbox import MODELS
    from vedette.store.model_store import ModelStore
    from vedette.store.state import LISTED, StoreState
    state_folder = args.state or installed_state_path(os.environ)
    store = ModelStore(state_folder / MODELS)
    try:
        _check_readable(store.folder)
        state, listed = store.read(), store.listed()
    except StateUnusable as unreadable:
        listed = _from_daemon(socket_path(os.environ, state_folder), unreadable)
        state = StoreState.parse(json.dumps({name: listed[name] for name in LISTED}).encode())
    if listed["trouble"]:
        print(f"vedette: {listed['trouble']}", file=sys.stderr)
    if args.json:
        print(json.dumps(listed))
        return 0
    for line in _lines(state):
        print(line)
    return 0


def _check_readable(folder: Path) -> None:
    """Accept a folder that does not exist yet. Raises: StateUnusable for one that may not be read."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = ("run this command as root or as the daemon's user" if isinstance(error, PermissionError)
                  else "expected the state folder of a daemon")
        raise StateUnusable(f"{folder}: {error.strerror}; {remedy}") from error


def _from_daemon(path: Path, unreadable: StateUnusable) -> dict[str, Any]:
    """Return the list of the daemon whose local socket this is. Raises: `unreadable` if there is none."""
    from vedette.serve.local.client import LocalClient
    try:
        return LocalClient(path).models()
    except DaemonAway:
        raise unreadable from None


def _lines(state: StoreState) -> Iterator[str]:
    for role, model in (("active", state.active), ("previous", state.previous), ("candidate", state.candidate)):
        yield f"{role:10} {_text(model) if model else '-'}"
        if role == "active" and state.trial:
            trial = state.trial
            yield (f"  on trial since {trial.since_utc:%Y-%m-%d %H:%M} UTC: {trial.frames} frames in "
                   f"{trial.seconds / 60:.1f} minutes, starts: {trial.starts}, crashes: {trial.crashes}")
    if state.held is not None:
        yield f"held       until a release above {state.held}"
    if state.latest:
        yield f"latest     {state.latest.name} {state.latest.version}, release {state.latest.release}"
    if state.last_outcome:
        yield f"outcome    {state.last_outcome.name}: {state.last_outcome.words}"
    for refused in reversed(state.refused):
        yield f"refused    {refused.sha256[:12]} on {refused.at:%Y-%m-%d}: {refused.why}"


def _text(model: Installed) -> str:
    release = f"release {model.release}" if model.release is not None else "no release"
    variant = f", variant {model.variant}" if model.variant else ""
    return f"{model.sha256[:12]}  {model.name} {model.version or ''}  {release}{variant}  {model.size:,} bytes"
