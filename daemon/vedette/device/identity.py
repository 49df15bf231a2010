"""The daemon's identity: its state folder, its name in every topic, and the number of this run.

Invariants:
- One daemon per state folder: the kernel frees the lock when its holder dies, however it dies.
- The run number grows with every start and is durable before anything is published under it.
- Two daemons never get the same default name: the machine id distinguishes hosts; instance and state folder
  distinguish the daemons of one host (see `default_name`). A daemon that has run once keeps the form of its name.
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

    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

SYSTEM_STATE = Path("/var/lib/vedette")
"""The folder of `StateDirectory=vedette` in the shipped unit; `vedette@NAME` gets `/var/lib/vedette-NAME`."""
CONFIGURATION = Path("/etc/vedette")
"""The folder of `config.yaml` of that unit, and of `NAME.yaml` of the others."""
SYSTEM_RUN = Path("/run")
SOCKET = "socket"
MACHINE_DIGITS = 10
"""Of the machine id in a default name. Among 1,000 machines, two are alike with a probability of 5e-7."""
FIRST_MACHINE_DIGITS = 4
"""The digits in the names of daemons that ran before there was a file that says how many."""
_LIMITS = {MACHINE_DIGITS: (24, 22), FIRST_MACHINE_DIGITS: (28, 24)}
"""The longest host and instance in a name. With the digits of machine and folder and the dashes that is 63, the longest
name allowed. Each part has its own limit, so that a long part never looks like another part."""
_DIGITS_FILE = "machine-digits"
_LOCK_POLL_S = 0.02
RUN_DIGITS = 15
"""Below 2^53: JSON readers that use doubles must still distinguish two runs."""


def state_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the state folder: systemd's if it gives one, else the user's."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "/", ".local", "state")
    return Path(home, "vedette")


def installed_state_path(environ: Mapping[str, str]) -> Path:
    """Return a command's state folder: like `state_path`, but it prefers the installed daemon's to the user's."""
    return SYSTEM_STATE if not environ.get("STATE_DIRECTORY") and SYSTEM_STATE.is_dir() else state_path(environ)


def state_path_of(configuration: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the state folder of the daemon with this configuration file: that of the shipped unit, if it has one."""
    if configuration is None or environ.get("STATE_DIRECTORY") or configuration.absolute().parent != CONFIGURATION:
        return state_path(environ)
    name = configuration.stem
    return SYSTEM_STATE if name == "config" else SYSTEM_STATE.with_name(f"{SYSTEM_STATE.name}-{name}")


def socket_path(environ: Mapping[str, str], state: Path) -> Path:
    """Return the path of the local socket of the daemon with this state folder.

    It is in the runtime folder that systemd gives, else in the state folder. A command is given none. It finds that of
    an installed daemon by its name: `/run/vedette-NAME` belongs to `/var/lib/vedette-NAME`.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given, SOCKET)
    is_installed = state.parent == SYSTEM_STATE.parent and state.name.startswith(SYSTEM_STATE.name)
    found = SYSTEM_RUN / state.name / SOCKET
    return found if is_installed and found.exists() else state / SOCKET


def known_sockets(environ: Mapping[str, str]) -> list[Path]:
    """Return the paths at which daemons of this machine may have their local socket: the command's own first."""
    own = socket_path(environ, installed_state_path(environ))
    return list(dict.fromkeys([own, *sorted(SYSTEM_RUN.glob(f"{SYSTEM_STATE.name}*/{SOCKET}"))]))


def found_sockets(environ: Mapping[str, str], run: Path = SYSTEM_RUN) -> list[Path]:
    """Return the local sockets that are there now, for a page: of the units, and of a daemon that its user has started.

    The state folder that systemd gives a page is no daemon's.
    """
    by_hand = state_path({name: value for name, value in environ.items() if name != "STATE_DIRECTORY"}) / SOCKET
    found = [*sorted(run.glob(f"{SYSTEM_STATE.name}*/{SOCKET}")), by_hand]
    return [path for path in found if os.path.exists(path)]  # noqa: PTH110 - False in a folder that is closed


def become_owner(path: Path) -> None:
    """If root runs this, become the owner of the folder at `path`, for good: new files there then belong to the owner.

    Nothing that somebody planted in the folder can then do more than its owner could. Raises: StateUnusable.
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
        raise StateUnusable(f"{path}: cannot switch to the folder's owner: {error.strerror}") from error


class StateFolder:
    """The locked state folder. The constructor acquires the lock, `close` frees it.

    `wait_s`: how long to wait for the lock: a command that changes the store holds it for a moment.
    Raises: AlreadyRunning naming the other daemon's process; StateUnusable.
    """

    def __init__(self, path: Path, *, wait_s: float = 0) -> None:
        self.path = path.absolute()
        self.trouble: str | None = None
        """Why the lock of the folder is lost, as a message; None while it is held."""
        self._lock: int | None = None
        self._run = 0
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._acquire(self._lock, time.monotonic() + wait_s)
        except BlockingIOError as error:
            self.close()
            raise AlreadyRunning(f"{self.path}: in use by the daemon with process id {self._holder()}; "
                                 "expected a state folder for this daemon alone (see vedette@.service)") from error
        except OSError as error:
            self.close()
            raise StateUnusable(f"{self.path}: cannot be used as a state folder: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"<StateFolder {self.path} {'held' if self._lock is not None else 'closed'}>"

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        return {} if self.trouble is None else {"store_failed": self.trouble}

    def close(self) -> None:
        """Free the lock for another daemon. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def next_run(self, now_s: Callable[[], float] = time.time) -> int:
        """Return the number of this run, one more than the last, after saving it durably. Raises: StateUnusable.

        A file that cannot be parsed is replaced by the seconds since 1970. That is above any counter that began at 1
        and above any earlier such jump, as long as the daemon starts less than once a second.
        """
        path = self.path / "run"
        try:
            run = _last_run(path, now_s) + 1
            if not path.exists():
                _save_number(self.path / _DIGITS_FILE, MACHINE_DIGITS)
            _save_number(path, run)
            self._run = run
        except OSError as error:
            raise StateUnusable(f"{path}: the number of this run cannot be saved: {error.strerror}") from error
        return run

    def reacquire(self) -> bool:
        """Lock the folder again if it was removed and restored; returns whether this call did so. After `next_run`.

        The lock belongs to a file: a process that finds another file there assumes that no daemon runs.
        """
        try:
            if self._is_held():
                self.trouble = None
                return False
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                self._acquire(lock, 0.0)
                if _last_run(self.path / "run", time.time) < self._run:     # else another daemon has continued from it
                    _save_number(self.path / "run", self._run)
            except OSError:
                os.close(lock)
                raise
        except OSError as error:
            reason = "another process has locked it" if isinstance(error, BlockingIOError) else error.strerror
            if self.trouble is None:
                log.error("the lock of the state folder %s is lost: %s", self.path, reason)
            self.trouble = f"{self.path}: {reason}"
            return False
        self.close()
        self._lock, self.trouble = lock, None
        log.warning("the state folder %s was restored and is locked again", self.path)
        return True

    def _is_held(self) -> bool:
        """Return whether the locked file is the one in the folder. Raises: OSError if there is no folder."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), (self.path / "lock").stat())
        except FileNotFoundError:
            self.path.stat()
            return False

    def machine_id(self, root: Path = Path("/")) -> str:
        """Return the machine id; if the machine has none yet, random digits that are saved in this folder."""
        for path in (root / "etc/machine-id", root / "var/lib/dbus/machine-id", self.path / "machine-id"):
            found = _machine_id_in(path)
            if found:
                return found
        drawn = secrets.token_hex(16)
        try:
            replace_file(self.path / "machine-id", drawn.encode() + b"\n")
        except OSError as error:
            raise StateUnusable(f"{self.path}: the random machine id cannot be saved: {error.strerror}") from error
        return drawn

    def machine_digits(self) -> int:
        """Return how many digits of the machine id the default name has: as in the first run of this folder."""
        has_run = (self.path / "run").exists()
        return FIRST_MACHINE_DIGITS if has_run and not (self.path / _DIGITS_FILE).exists() else MACHINE_DIGITS

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


def default_name(hostname: str, instance: str, machine_id: str, state: Path, digits: int = MACHINE_DIGITS) -> str:
    """Return the device name if none is configured: `<host>[-<instance>]-<machine>[-<folder>]`.

    `<machine>` is the first `digits` of the machine id. `<folder>` is four digits of a SHA-256 over instance and state
    folder. It is left out for the daemon that the unit of that instance starts: a second daemon cannot have the
    same state folder, so it gets another name. It is added too if an instance's name was changed to fit in a topic,
    since another name might give the same result.
    """
    host_limit, instance_limit = _LIMITS[digits]
    host = _normalised(hostname)[:host_limit] or "vedette"
    part = _normalised(instance)[:instance_limit]
    parts = [host, part, machine_id[:digits]]
    usual = Path(f"{SYSTEM_STATE}-{instance}") if instance else SYSTEM_STATE
    if part != instance or state != usual:
        parts.append(hashlib.sha256(f"{instance}\0{state}".encode("utf-8", "surrogateescape")).hexdigest()[:4])
    return "-".join(filter(None, parts))


def _save_number(path: Path, number: int) -> None:
    """Save a number durably; on a full disk, overwrite the old one in its file. Raises: OSError."""
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
        saved = path.read_bytes().strip()
    except FileNotFoundError:
        return 0
    if re.fullmatch(rb"[0-9]{1,%d}" % RUN_DIGITS, saved):
        return int(saved)
    log.warning("%s: expected a number, found %r; run numbers continue from the clock", path, saved[:20])
    return int(now_s())


def _machine_id_in(path: Path) -> str | None:
    try:
        text = path.read_text("ascii", "replace").strip().lower()
    except OSError:
        return None
    # On a first boot the file says `uninitialized` until systemd writes the real one.
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else None
