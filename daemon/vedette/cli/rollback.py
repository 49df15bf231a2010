"""`vedette model rollback`: go back to the model before, and stay there until a release above the one that is left.

Invariants: those of `asking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli import asking

if TYPE_CHECKING:
    import argparse

EXAMPLE = f"""example:
  vedette model rollback

{asking.EXIT_CODES}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    asking.add_arguments(parser, wait_s=60.0)


def run(args: argparse.Namespace) -> int:
    """Roll back. Raises: VedetteError."""
    from vedette.update.request import Request, new_id
    asking.take_rights(args)
    return asking.Asking(args).run(Request(id=new_id(), kind="rollback"))
