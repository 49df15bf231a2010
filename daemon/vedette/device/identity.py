"""Who this daemon is: its state folder, its name in every topic, and the number of this run.

Invariants:
- One daemon per state folder: the kernel frees the lock when its holder dies, however it dies.
- The run number grows with every start and is durable before anything is published under it.
- Two daemons never get the same default name: the machine id tells hosts apart, instance and state folder the
  daemons of one host (see `default_name`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.clock import pause
from vedette._lib.durable import replace_file
from vedette.errors import AlreadyRunning, StateUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

SYSTEM_STATE = Path("/var/lib/vedette")
"""What `StateDirectory=vedette` of the shipped unit gives; `vedette@NAME` gets `/var/lib/vedette-NAME`."""
HOST_LIMIT = 28
INSTANCE_LIMIT = 24
"""With the two groups of four digits and the dashes: 63, the longest name allowed. Each part has its own limit, so
that a long one never shows through as another part."""
_LOCK_POLL_S = 0.02
RUN_DIGITS = 15
"""Below 2^53: JSON readers that use doubles must still tell two runs apart."""


def state_path(environ: Mapping[str, str]) -> Path:
    """Return where the state folder is: systemd's first, else the user's."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "/", ".local", "state")
    return Path(home, "vedette")


def installed_state_path(environ: Mapping[str, str]) -> Path:
    """Return the state folder that a command means: as `state_path`, but the installed daemon's before the user's."""
    return SYSTEM_STATE if not environ.get("STATE_DIRECTORY") and SYSTEM_STATE.is_dir() else state_path(environ)


def become_owner(path: Path) -> None:
    """Where root works in somebody's folder, become that somebody, for good: what is made there then is theirs.

    Nothing planted in the folder can then do more than its owner could. Raises: StateUnusable.
    """
    try:
        status = path.stat()
        if os.geteuid() == 0 and status.st_uid != 0:
            os.setgroups([])
            os.setresgid(status.st_gid, status.st_gid, status.st_gid)
            os.setresuid(status.st_uid, status.st_uid, status.st_uid)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateUnusable(f"{path}: its owner's rights cannot be taken: {error.strerror}") from error


class StateFolder:
    """The state folder, held alone. The constructor acquires, `close` gives it back.

    `wait_s`: how long to wait for the present holder: a command that changes the store holds it for a moment.
    Raises: AlreadyRunning naming the other daemon's process; StateUnusable.
    """

    def __init__(self, path: Path, *, wait_s: float = 0) -> None:
        self.path = path.absolute()
        self.trouble: str | None = None
        """Why the folder is not held any more, in words."""
        self._lock: int | None = None
        self._run = 0
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._acquire(self._lock, time.monotonic() + wait_s)
        except BlockingIOError as error:
            self.close()
            raise AlreadyRunning(f"{self.path}: in use by the daemon with process id {self._holder()}; "
                                 "each daemon needs a state folder of its own (see vedette@.service)") from error
        except OSError as error:
            self.close()
            raise StateUnusable(f"{self.path}: cannot be used as state folder: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"<StateFolder {self.path} {'held' if self._lock is not None else 'closed'}>"

    def close(self) -> None:
        """Let another daemon have it. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def next_run(self, now_s: Callable[[], float] = time.time) -> int:
        """Return the number of this run: one more than the last, durably noted. Raises: StateUnusable.

        A note that cannot be understood is replaced by the seconds since 1970: the clock is ahead of any counter that
        began at 1 and of any earlier such jump, as long as the daemon starts less than once a second.
        """
        path = self.path / "run"
        try:
            run = _last_run(path, now_s) + 1
            _keep(path, run)
            self._run = run
        except OSError as error:
            raise StateUnusable(f"{path}: the number of this run cannot be kept: {error.strerror}") from error
        return run

    def hold(self) -> bool:
        """Where the folder was removed and put back, take it again; returns whether that was done just now.

        The lock is that of a file: whoever finds another one there believes that no daemon runs. After `next_run`.
        """
        try:
            if self._is_held():
                self.trouble = None
                return False
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                self._acquire(lock, 0.0)
                if _last_run(self.path / "run", time.time) < self._run:     # else another daemon went on from it
                    _keep(self.path / "run", self._run)
            except OSError:
                os.close(lock)
                raise
        except OSError as error:
            words = "another process took it" if isinstance(error, BlockingIOError) else error.strerror
            if self.trouble is None:
                log.error("the state folder %s is no longer held: %s", self.path, words)
            self.trouble = f"{self.path}: {words}"
            return False
        self.close()
        self._lock, self.trouble = lock, None
        log.warning("the state folder %s was put back", self.path)
        return True

    def _is_held(self) -> bool:
        """Whether the file that is locked is the one that others see. Raises: OSError where there is no folder."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), (self.path / "lock").stat())
        except FileNotFoundError:
            self.path.stat()
            return False

    def machine_id(self, root: Path = Path("/")) -> str:
        """Return the machine id, or where the machine has none yet, random digits kept in this folder."""
        for path in (root / "etc/machine-id", root / "var/lib/dbus/machine-id", self.path / "machine-id"):
            found = _machine_id_in(path)
            if found:
                return found
        made = secrets.token_hex(16)
        try:
            replace_file(self.path / "machine-id", made.encode() + b"\n")
        except OSError as error:
            raise StateUnusable(f"{self.path}: the made-up machine id cannot be kept: {error.strerror}") from error
        return made

    def _acquire(self, lock: int, deadline_s: float) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise
                pause(_LOCK_POLL_S)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)

    def _holder(self) -> str:
        try:
            return (self.path / "lock").read_text("ascii", "replace").strip() or "unknown"
        except OSError:
            return "unknown"


def default_name(hostname: str, instance: str, machine_id: str, state: Path) -> str:
    """Return the device name where none is configured: `<host>[-<instance>]-<machine>[-<folder>]`.

    `<machine>` is the first four digits of the machine id. `<folder>`, four digits of a SHA-256 over instance and
    state folder, is there unless the daemon is the one that the unit of that instance starts: a second daemon, which
    cannot have the same state folder, gets another name. It is there too where an instance's name had to be changed
    to fit in a topic, since another one might come out the same.
    """
    host = _normalised(hostname)[:HOST_LIMIT] or "vedette"
    part = _normalised(instance)[:INSTANCE_LIMIT]
    parts = [host, part, machine_id[:4]]
    usual = Path(f"{SYSTEM_STATE}-{instance}") if instance else SYSTEM_STATE
    if part != instance or state != usual:
        parts.append(hashlib.sha256(f"{instance}\0{state}".encode("utf-8", "surrogateescape")).hexdigest()[:4])
    return "-".join(filter(None, parts))


def _keep(path: Path, number: int) -> None:
    """Keep a number durably: on a full disk in the place of the old one. Raises: OSError."""
    digits = b"%d\n" % number
    try:
        replace_file(path, digits)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.is_file():
            raise
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, digits, 0)
            os.ftruncate(descriptor, len(digits))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _normalised(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")


def _last_run(path: Path, now_s: Callable[[], float]) -> int:
    try:
        noted = path.read_bytes().strip()
    except FileNotFoundError:
        return 0
    if re.fullmatch(rb"[0-9]{1,%d}" % RUN_DIGITS, noted):
        return int(noted)
    log.warning("%s: expected a number, found %r; runs go on from the clock", path, noted[:20])
    return int(now_s())


def _machine_id_in(path: Path) -> str | None:
    try:
        text = path.read_text("ascii", "replace").strip().lower()
    except OSError:
        return None
    # `uninitialized` stands there on a first boot, until systemd writes the real one.
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else None
