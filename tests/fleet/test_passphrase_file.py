"""The file with the passphrase of the keys, in the forms in which people have it."""

import os
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from vedette.cli.fleet.arguments import passphrase_of
from vedette.errors import KeyUnusable


def test_a_pipe_and_a_file_of_another_system(tmp_path: Path) -> None:
    """The shell's <(command) is a pipe; an editor may end the line in another way, or not at all."""
    path = tmp_path / "passphrase"
    for content in (b"a b", b"a b\n", b"a b\r\nmore"):
        path.write_bytes(content)
        assert passphrase_of(Namespace(passphrase_file=path)) == b"a b"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a b\n",))
    writer.start()
    assert passphrase_of(Namespace(passphrase_file=pipe)) == b"a b"
    writer.join()


def test_a_device_without_end_is_refused() -> None:
    """It would fill the memory."""
    with pytest.raises(KeyUnusable, match="/dev/zero: its first line must be the passphrase, but it is too long"):
        passphrase_of(Namespace(passphrase_file=Path("/dev/zero")))
