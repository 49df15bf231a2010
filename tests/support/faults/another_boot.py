"""`vedette …` in another boot of this machine: `python another_boot.py BOOT_ID …`, as root.

A mount namespace has the boot id that the kernel would make anew after a power cut.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.support.network.another_host import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, checked, mount, unshare

PROGRAM = (str(Path(__file__)),)
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def move(boot_id: str) -> None:
    """Let this process live in that boot. Raises: OSError."""
    checked(unshare(CLONE_NEWNS))
    mount(b"none", "/", None, MS_REC | MS_PRIVATE)
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as note:
        note.write(boot_id + "\n")
        note.flush()
        mount(os.fsencode(note.name), BOOT_ID, None, MS_BIND)


if __name__ == "__main__":
    move(sys.argv[1])
    from vedette.cli import main  # late: it is the other boot's daemon
    sys.exit(main(sys.argv[2:]))
