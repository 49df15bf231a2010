"""`vedette collect fetch`: copies the collected pictures out of the state folder.

Invariants: only regular files with the name of a picture are read, never through a link; each copy is whole or is not
there, and tells no more than the picture does; nothing in the state folder changes, and nothing goes over a network.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.cli.arguments import file_path
from vedette.errors import StateUnusable, UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

EXAMPLE = """example:
  sudo vedette collect fetch pictures
  vedette model quantize float.tflite --images pictures -o int8.tflite      # on a workstation

The pictures show the part of the frame that the model sees, with the masks. They are for
calibration and comparison; see docs/workshop.md. The originals stay on the device until
`vedette collect clear`, or until `collect.days` are over.

exit codes:
   0  The pictures are copied. There may be none yet.
  64  DIR cannot be written.
  69  The state folder cannot be read."""

_REMEDY = "run this command as root or as the daemon's user"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=file_path, metavar="DIR", help="folder for the copies; it may be new")
    add_state_argument(parser)


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--state`."""
    parser.add_argument("--state", type=file_path, metavar="STATE",
                        help="state folder (default: that of the installed daemon, else that of the user)")


def run(args: argparse.Namespace) -> int:
    """Copy the pictures. Raises: StateUnusable, UsageError."""
    from vedette.workshop.collection import FILE_TIME_S
    copied = size_bytes = 0
    pictures = collected(args.state)
    try:
        if not args.folder.is_dir():
            args.folder.mkdir()
            _give(args.folder, args.folder.absolute().parent)
        for path in pictures:
            content = _content(path)
            if content is not None:
                target = args.folder / path.name
                replace_file(target, content)
                os.utime(target, (FILE_TIME_S, FILE_TIME_S))
                _give(target, args.folder)
                copied, size_bytes = copied + 1, size_bytes + len(content)
    except OSError as failure:
        raise UsageError(f"{failure.filename or args.folder}: {failure.strerror}; "
                         "expected a folder that can be written") from failure
    print(f"{args.folder}: {copied} pictures, {size_bytes / 1e6:.1f} MB")
    return 0


def collected(state: Path | None) -> list[Path]:
    """Return the pictures in a state folder, None for that of the daemon. Raises: StateUnusable."""
    from vedette.device.identity import installed_state_path
    from vedette.workshop.collection import FOLDER, picture_files
    folder = (state or installed_state_path(os.environ)) / FOLDER
    try:
        return picture_files(folder)
    except OSError as failure:
        remedy = _REMEDY if isinstance(failure, PermissionError) else "expected the state folder of a daemon"
        raise StateUnusable(f"{folder}: {failure.strerror}; {remedy}") from failure


def _give(path: Path, folder: Path) -> None:
    """Make the owner of a folder the owner of what root has made in it. Raises: OSError."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _content(path: Path) -> bytes | None:
    """Return the picture; None if the daemon or its owner has deleted it meanwhile. Raises: StateUnusable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise StateUnusable(f"{path}: {failure.strerror}; {_REMEDY}") from failure
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
