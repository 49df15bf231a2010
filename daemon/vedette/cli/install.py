"""`vedette model install`: bring a model to this device by hand: from a stick, by scp, Ansible, another update agent.

Invariants: the file is copied and its digest taken before anybody is asked; it goes through the same proof as one from
the network; what is refused leaves nothing behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli import daemon_request
from vedette.errors import ModelUnreadable

if TYPE_CHECKING:
    import argparse

EXAMPLE = f"""example:
  vedette model install street.tflite

It runs when it has passed the probe: at once and on trial, after a comparison in shadow where its release asks for one,
or at the next start where no daemon runs. A file that no signed metadata names is taken only where
update.require_signed is false.

{daemon_request.EXIT_CODES}"""
LIMIT_BYTES = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="FILE", help="a bundle, or any .tflite file")
    parser.add_argument("--force", action="store_true", help="also one that failed on this device before")
    daemon_request.add_arguments(parser, wait_s=300.0)


def run(args: argparse.Namespace) -> int:
    """Install. Raises: VedetteError."""
    from vedette.store.inbox import Request, new_id
    try:
        file = args.model.open("rb")    # as who called us: the daemon's user may not read it
    except OSError as error:
        raise ModelUnreadable(f"{args.model}: {error.strerror}; expected a .tflite file") from error
    with file:
        daemon_request.take_rights(args)
        asked = daemon_request.Asking(args)
        with asked.store.receive(file, None, limit_bytes=LIMIT_BYTES) as received:
            request = Request(id=new_id(), kind="install", sha256=received.sha256, upload=received.path.name,
                              force=args.force)
            return asked.run(request, received)
