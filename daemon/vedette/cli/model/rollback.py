"""`vedette model rollback`: goes back to the previous model, until a release above the one that was left arrives.

Invariants: those of `daemon_request`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.model import daemon_request

if TYPE_CHECKING:
    import argparse

EXAMPLE = f"""example:
  vedette model rollback

The previous model stays active until a release arrives with a higher number than that of the replaced model.

{daemon_request.EXIT_CODES}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    daemon_request.add_arguments(parser, wait_s=60.0)


def run(args: argparse.Namespace) -> int:
    """Roll back. Raises: VedetteError."""
    from vedette.store.inbox import Request, new_id
    daemon_request.take_rights(args)
    return daemon_request.OperatorCommand(args).run(Request(id=new_id(), kind="rollback"))
