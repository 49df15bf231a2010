"""`vedette model install`: installs a model file by hand: from a stick, by scp, Ansible or another update agent.

Invariants: the file is copied and its digest is taken before the request is sent; the file passes the same checks as
one from the network; a file that is refused leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.cli.model import daemon_request
from vedette.errors import ModelUnreadable

if TYPE_CHECKING:
    import argparse

EXAMPLE = f"""example:
  vedette model install street.tflite

The model is tested first. If it passes, the daemon starts its trial at once.
If its release asks for a shadow comparison, the trial starts after that.
If no daemon runs, the trial starts when the daemon starts.
A file that no signed metadata lists is refused, unless update.require_signed is false.

{daemon_request.EXIT_CODES}"""

_HEAD_BYTES = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=file_path, metavar="FILE", help="a bundle, or another .tflite file")
    parser.add_argument("--force", action="store_true", help="accept a model that failed on this device before")
    daemon_request.add_arguments(parser, wait_s=300.0)


def run(args: argparse.Namespace) -> int:
    """Install. Raises: VedetteError."""
    from vedette._lib.whole_file import check_regular
    from vedette.store.inbox import Request, new_id
    from vedette.tflite.file import FILE_BYTES_MAX, check_identifier
    try:
        check_regular(args.model, FILE_BYTES_MAX)
        file = args.model.open("rb")    # as the caller: the daemon's user may have no right to read it
    except OSError as error:
        raise ModelUnreadable(f"{args.model}: {error.strerror}; expected a .tflite file") from error
    with file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        daemon_request.take_rights(args)
        command = daemon_request.OperatorCommand(args)
        try:
            check_identifier(head)      # "unsigned" would hide that it is no model at all
        except ModelUnreadable as error:
            return command.refuse(ModelUnreadable(f"{args.model}: {error}"))
        with command.store.receive(file, None, limit_bytes=FILE_BYTES_MAX) as received:
            request = Request(id=new_id(), kind="install", sha256=received.sha256, upload=received.path.name,
                              force=args.force)
            return command.run(request, received)
