"""`vedette init`: writes what the service needs beside the program: units, user, configuration, folders and docs.

Invariants: an existing configuration stays as it is; each file is replaced in one step; a second run changes nothing;
with `--prefix` nothing outside of that folder changes.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.cli.arguments import file_path
from vedette.errors import NotInstallable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXAMPLE = """examples:
  sudo vedette init                  everything that the service needs; run it again after an upgrade
  sudo vedette init --remove         remove the units; configuration and state stay
  vedette init --prefix /tmp/root    the same files below a folder

exit codes:
   0  The files are written, or nothing had to change.
  69  There are no root rights, the service could not read this program, or a package has installed the service."""

SYSTEM = Path(__file__).parents[1] / "system"
"""The files that the package carries. In the source tree these are links to the project's own."""
UNITS, SHARE, CONFIG = "etc/systemd/system", "opt/vedette/share", "etc/vedette"
UNIT_NAMES = ("vedette.service", "vedette@.service", "vedette-page.service", "vedette-roll@.service")
STATE = "var/lib/vedette"
PAGE_STATE = "var/lib/private/vedette-page"
"""What the page keeps. Its user has no number of its own, so systemd hides the folder from all others."""
USER_FILE = "usr/lib/sysusers.d/vedette.conf"
PACKAGED_UNIT = Path("/usr/lib/systemd/system/vedette.service")
SHIPPED_PROGRAM = "/opt/vedette/current/bin/vedette"
"""What the shipped units start."""
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - no file is made there
"""ProtectHome= and PrivateTmp= of the units hide these folders from the service."""
ADVICE = ("install it where every user can read it: `pipx install --global`, or with an older pipx "
          "`PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install`")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--prefix", type=file_path, metavar="DIR",
                        help="write everything below this folder; make no user, and leave systemd alone")
    parser.add_argument("--remove", action="store_true",
                        help="stop the service, remove units and docs; configuration, state and user stay")


def run(args: argparse.Namespace) -> int:
    """Write the files, or remove them. Raises: NotInstallable."""
    if args.prefix is None and os.geteuid() != 0:
        raise NotInstallable("needs root: `sudo vedette init`; `--prefix DIR` writes below a folder instead")
    os.umask(0o022)
    root = Path("/") if args.prefix is None else args.prefix.absolute()
    program = _program(root)
    if args.remove:
        _remove(root, program)
        return 0
    if args.prefix is None:
        if PACKAGED_UNIT.exists():      # units in /etc would hide those of the package
            raise NotInstallable(f"{PACKAGED_UNIT}: a package has installed the service; `apt remove vedette` first")
        check_readable((Path(program), Path(sys.executable), SYSTEM))
    written = list(_write(root, program, live=args.prefix is None))
    print("\n".join(f"written: {path}" for path in written) or "nothing to change: everything is as it should be")
    print(f"next: edit {root / CONFIG / 'config.yaml'}, then run: systemctl enable --now vedette\n"
          "to watch it in a browser: systemctl enable --now vedette-page\n"
          "after an upgrade: systemctl try-restart 'vedette*'")
    return 0


def _program(root: Path) -> str:
    """Return the command of this environment, as a path that holds where `root` is the root. Raises: NotInstallable."""
    path = Path(sysconfig.get_path("scripts"), "vedette")
    if not path.exists():
        raise NotInstallable(f"{path}: not found; expected the command of an installed Vedette: {ADVICE}")
    program = f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)
    if not re.fullmatch(r"[\w./+@~-]+", program):
        raise NotInstallable(f"{program}: expected a path without blanks and special characters, for systemd's units")
    return program


def check_readable(needed: tuple[Path, ...]) -> None:
    """Check that the service's user can read these files and folders. Raises: NotInstallable."""
    for path in (each for first in needed for each in (first, first.resolve())):
        for part in (path, *path.parents):
            mode = part.stat().st_mode
            if part in HIDDEN or not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
                raise NotInstallable(f"{path}: the service's user cannot read what is in {part}; {ADVICE}")


def _files(program: str) -> dict[str, bytes]:
    """Return the content of each file, by its path below the root. The configuration is not among them."""
    units = {f"{UNITS}/{name}": (SYSTEM / "systemd" / name).read_text("utf-8").replace(SHIPPED_PROGRAM, program)
             for name in UNIT_NAMES}
    copied = {USER_FILE: SYSTEM / "systemd/sysusers.d/vedette.conf",
              f"{SHARE}/mosquitto.acl": SYSTEM / "systemd/mosquitto.acl",
              **{f"{SHARE}/{page.name}": page for page in sorted((SYSTEM / "docs").glob("*.md"))}}
    return {**{path: file.read_bytes() for path, file in copied.items()},
            **{path: text.encode() for path, text in units.items()}}


def _write(root: Path, program: str, *, live: bool) -> Iterator[Path]:
    """Write what is missing or differs, the units last; yields each path that changed. Raises: NotInstallable."""
    for name, content in _files(program).items():
        path = root / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content, 0o644)
            yield path
        if name == USER_FILE:
            if live:
                _make_user()
            yield from _own_folders(root, live=live)
    if live and _has_systemd():
        _call("systemctl", "daemon-reload")


def _make_user() -> None:
    try:
        pwd.getpwnam("vedette")
        grp.getgrnam("vedette-page")
    except KeyError:
        _call("systemd-sysusers", "vedette.conf")


def _own_folders(root: Path, *, live: bool) -> Iterator[Path]:
    """Make the configuration and the folders, with their modes and owners."""
    for name, user in ((CONFIG, "root"), (f"{CONFIG}/credentials", "root"), (STATE, "vedette")):
        path = root / name
        if not path.is_dir():
            path.mkdir(parents=True)
            yield path
        path.chmod(0o750)
        if live:
            shutil.chown(path, user, "vedette")
    config = root / CONFIG / "config.yaml"
    if not os.path.lexists(config):
        replace_file(config, (SYSTEM / "config.yaml").read_bytes())
        yield config
    if live and config.exists():
        shutil.chown(config, group="vedette")


def _remove(root: Path, program: str) -> None:
    """Remove units and docs, and print what stays. A unit of another installation stays too."""
    units = [root / UNITS / name for name in UNIT_NAMES]
    ours = [unit for unit in units if unit.exists() and f"ExecStart={program} " in unit.read_text("utf-8", "replace")]
    is_live = root == Path("/") and _has_systemd()
    if ours and is_live:
        # the page as a pattern, which may match nothing: units of an older version are without it
        _call("systemctl", "stop", "vedette.service", "vedette@*.service", "[v]edette-page.service",
              "vedette-roll@*.service")
        _call("systemctl", "disable", *(unit.name for unit in ours))
    for unit in ours:
        unit.unlink()
    if not any(unit.exists() for unit in units):
        shutil.rmtree(root / SHARE, ignore_errors=True)
        with contextlib.suppress(OSError):      # not empty after `make install`
            (root / SHARE).parent.rmdir()
    if is_live:
        _call("systemctl", "daemon-reload")
    for unit in units:
        if unit.exists():
            print(f"kept: {unit} does not start {program}")
    kept = f"{root / CONFIG} {root / STATE}* {root / PAGE_STATE} {root / USER_FILE}"
    print(f"removed; kept: configuration, state and user. To remove them too: rm -r {kept}; userdel vedette; "
          "groupdel vedette-page")


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _call(*command: str) -> None:
    """Run a program of systemd. Raises: NotInstallable."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotInstallable(f"{command[0]}: {error.strerror}; expected systemd's own program") from error
    if done.returncode:
        raise NotInstallable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
