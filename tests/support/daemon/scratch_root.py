"""The machine's own root, seen by processes that may change it: what they change lands in a folder of the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CHANGED = ("etc", "opt", "usr/lib", "usr/local", "var/lib")
MOUNTS = """set -e
umask 022
for name in {names}; do
    mkdir -p {folder}/$name {folder}.work/$name
    mount -t overlay overlay -o "lowerdir=/$name,upperdir={folder}/$name,workdir={folder}.work/$name" "/$name"
done
mkdir -p {folder}.systemd /run/systemd
mount --bind {folder}.systemd /run/systemd
{setup}
exec "$@"
"""


class ScratchRoot:
    """A mount namespace for each command; changes stay from one to the next. No systemd runs there.

    `setup`: a line of the shell that each command begins with, when its mounts are there.
    """

    def __init__(self, folder: Path, setup: str = "") -> None:
        self.root = folder / "scratch"
        """What the commands changed, and nothing else."""
        self.systemd = folder / "scratch.systemd"
        self._script = MOUNTS.format(names=" ".join(CHANGED), folder=self.root, setup=setup)
        if self.run("true").returncode:
            pytest.skip("only root can mount an overlay")

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root."""
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables}
        return subprocess.run(["unshare", "--mount", "sh", "-c", self._script, "sh", *map(str, command)],
                              capture_output=True, text=True, timeout=240, env=environ)
