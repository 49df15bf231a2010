"""`vedette model activate`: activates an installed model, whatever the update source says.

Invariants: the model is chosen by what `vedette model list` shows; a name that fits more than one model is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.model import daemon_request
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from vedette.store.state import StoreState

EXAMPLE = f"""example:
  vedette model activate 3f9a5c
  vedette model activate street
  vedette model activate --force 3f9a5c     # tries a refused model again

The model stays active until a release arrives whose number is higher than all known numbers.

{daemon_request.EXIT_CODES.replace("is wrong.", "is wrong, or no such model is installed.", 1)}"""
_LEAST_DIGITS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="SHA|NAME|VERSION",
                        help="digest, name or version, as `vedette model list` shows it")
    parser.add_argument("--force", action="store_true", help="accept a model that failed on this device before")
    daemon_request.add_arguments(parser, wait_s=300.0)


def run(args: argparse.Namespace) -> int:
    """Activate. Raises: VedetteError."""
    from vedette.store.inbox import Request, new_id
    daemon_request.take_rights(args)
    command = daemon_request.OperatorCommand(args)
    sha256 = digest_of(args.model, command.store.read())
    return command.run(Request(id=new_id(), kind="activate", sha256=sha256, force=args.force))


def digest_of(wanted: str, state: StoreState) -> str:
    """Return the digest of the model that is meant. Raises: UsageError."""
    fitting = {model.sha256 for model in state.named if wanted in (model.name, model.version)}
    if not fitting and len(wanted) >= _LEAST_DIGITS:
        known = [*(model.sha256 for model in state.named), *(refused.sha256 for refused in state.refused)]
        fitting = {sha256 for sha256 in known if sha256.startswith(wanted.lower())}
    if len(fitting) != 1:
        raise UsageError(f"{wanted}: {'fits several models' if fitting else 'no such model is installed'}; "
                         "expected a digest, name or version from `vedette model list`")
    return fitting.pop()
