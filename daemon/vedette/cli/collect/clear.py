"""`vedette collect clear`: deletes the collected pictures.

Invariants: only regular files with the name of a picture are deleted; root becomes the owner of the state folder first.
A daemon that runs notices it within a second, and begins its collection anew.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vedette.cli.collect.fetch import add_state_argument, collected
from vedette.device.identity import become_owner, installed_state_path
from vedette.errors import StateUnusable

if TYPE_CHECKING:
    import argparse

EXAMPLE = """example:
  sudo vedette collect clear

The daemon goes on collecting if `collect.enabled` is true: its hours begin anew.

exit codes:
   0  The pictures are deleted. There may have been none.
  69  They cannot be deleted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_state_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Delete the pictures. Raises: StateUnusable."""
    state = (args.state or installed_state_path(os.environ)).absolute()
    become_owner(state)
    deleted = 0
    while pictures := collected(state):     # the daemon may have written one meanwhile
        for path in pictures:
            try:
                path.unlink()
                deleted += 1
            except FileNotFoundError:
                continue
            except OSError as failure:
                raise StateUnusable(f"{path}: {failure.strerror}; expected rights to delete it") from failure
    print(f"{deleted} pictures deleted")
    return 0
