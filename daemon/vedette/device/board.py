"""Reads the state of the board: heat, power, processor, memory, disk, clock.

Invariants: every value may be None, because boards differ in what they report; nothing raises for an absent file;
nothing blocks: only files of the kernel are read. If they lack the throttling bits, `vcgencmd` runs for at most half a
second, and never again once it has failed. One thread at a time.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.memory import MemoryGauge

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.types import ReasonCode

THROTTLE_BITS = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}
"""As `vcgencmd get_throttled` documents them: now in bits 0-3, since the last clearing in bits 16-19."""
STICKY_SHIFT = 16
VCGENCMD_TIMEOUT_S = 0.5

HOT_C = 80.0
"""Where a Raspberry Pi begins to throttle."""
DISK_LOW_MB, DISK_LOW_SHARE = 100.0, 0.1
"""The smaller of the two applies, so that a small separate partition is not always low."""
MEMORY_LOW_MB = 64.0
CPU_ZONE = re.compile(r"(?i)cpu|soc")
"""Types of the processor's thermal zones: cpu-thermal, soc_thermal, cpu0-thermal. Else the first zone counts."""
TEMPERATURES_C = (-60.0, 150.0)
"""A thermometer with a value outside of this range is broken."""
SLOWED_BELOW = 0.95
"""A share of the highest frequency that was ever allowed."""

STA_UNSYNC = 0x40
CLOCK_ERROR_LIMIT_US = 2_000_000
"""timesyncd asks a server every 2048 s at most. Meanwhile the kernel raises its error bound by 500 ppm, to 1.02 s, so
one lost answer is no reason. The kernel itself sets STA_UNSYNC only at 16 s, eight hours after the last answer."""


@dataclass(frozen=True, slots=True)
class BoardReading:
    """The board at one moment; None for a value that the board does not report. MB are 10^6 bytes."""

    temperature_c: float | None = None
    throttled_now: tuple[str, ...] | None = None
    throttled_ever: tuple[str, ...] | None = None
    cpu_mhz: float | None = None
    cpu_highest_mhz: float | None = None      # the hardware's maximum
    cpu_slowed: bool | None = None            # the kernel allows less than before
    rss_mb: float | None = None
    capture_rss_mb: float | None = None
    memory_available_mb: float | None = None
    memory_allowed_mb: float | None = None    # left of the unit's limit
    memory_stalled: float | None = None       # share of the last seconds in which a process waited for memory
    memory_pressed: bool | None = None        # that share is too large
    cma_free_mb: float | None = None
    disk_free_mb: float | None = None
    disk_mb: float | None = None
    clock_synced: bool | None = None

    def reasons(self) -> dict[ReasonCode, str]:
        """Return the health reasons that this reading gives, with their details."""
        now = self.throttled_now or ()
        found: dict[ReasonCode, str] = {}
        if "under_voltage" in now:
            found["undervoltage"] = "the supply voltage is below its limit"
        if set(now) - {"under_voltage"}:
            found["throttled"] = ", ".join(name for name in now if name != "under_voltage")
        if self.temperature_c is not None and self.temperature_c >= HOT_C:
            found["hot"] = f"{self.temperature_c:.0f} degrees Celsius"
        least_mb = DISK_LOW_MB if self.disk_mb is None else min(DISK_LOW_MB, DISK_LOW_SHARE * self.disk_mb)
        if self.disk_free_mb is not None and self.disk_free_mb < least_mb:
            found["disk_low"] = f"{self.disk_free_mb:.0f} MB free for the state folder"
        if self.memory_available_mb is not None and self.memory_available_mb < MEMORY_LOW_MB:
            found["memory_low"] = f"{self.memory_available_mb:.0f} MB available"
        elif self.memory_allowed_mb is not None and self.memory_allowed_mb < MEMORY_LOW_MB:
            found["memory_low"] = f"{self.memory_allowed_mb:.0f} MB left of the unit's limit"
        if self.memory_pressed:
            found["memory_pressure"] = f"processes wait for memory {self.memory_stalled or 0:.0%} of the time"
        if self.clock_synced is False:
            found["clock_unsynced"] = "not set by a time server, or too long ago"
        return found


def boot_id(root: Path = Path("/")) -> str:
    """Return the id of this boot of the machine; it changes with every boot."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


class Board:
    """The board that this runs on. Tests give their own `root` folder, `vcgencmd` and `monotonic`."""

    def __init__(self, state_path: Path, root: Path = Path("/"), vcgencmd: str = "vcgencmd",
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        self._state_path = state_path
        self._root = root
        self._vcgencmd = vcgencmd
        self._throttled_ever = 0
        self._zones: tuple[str, ...] = ()
        self._allowed_khz = 0.0
        self._memory = MemoryGauge(root, monotonic)

    @property
    def name(self) -> str | None:
        """The board's name in its device tree, e.g. `Raspberry Pi 4 Model B Rev 1.5`."""
        return self._text("proc/device-tree/model").rstrip("\0") or None

    def read(self, capture_pid: int | None = None) -> BoardReading:
        """Read everything; `capture_pid` is the capture child's, if there is one."""
        memory_mb = self._memory_mb()
        throttled_now, throttled_ever = self._throttling()
        khz, highest_khz, slowed = self._frequency()
        memory = self._memory.read()
        disk_free_mb, disk_mb = self._disk_mb()
        return BoardReading(
            temperature_c=self._temperature_c(),
            throttled_now=throttled_now,
            throttled_ever=throttled_ever,
            cpu_mhz=None if khz is None else round(khz / 1000),
            cpu_highest_mhz=None if highest_khz is None else round(highest_khz / 1000),
            cpu_slowed=slowed,
            rss_mb=self._rss_mb("self"),
            capture_rss_mb=None if capture_pid is None else self._rss_mb(str(capture_pid)),
            memory_available_mb=memory_mb.get("MemAvailable"),
            memory_allowed_mb=None if memory.allowed is None else _megabytes(memory.allowed),
            memory_stalled=memory.stalled,
            memory_pressed=memory.pressed,
            cma_free_mb=memory_mb.get("CmaFree"),
            disk_free_mb=disk_free_mb,
            disk_mb=disk_mb,
            clock_synced=self.clock_synced(),
        )

    def clock_synced(self) -> bool | None:
        """Return whether a time server set the clock recently; None if that is unknown."""
        timesyncd = self._root / "run/systemd/timesync"
        if (timesyncd / "synchronized").exists():
            return True
        asked = kernel_clock_synced()
        # Under `ProtectClock=` (the shipped unit) the kernel does not answer. If timesyncd runs, its missing file means
        # "not synchronized". With chrony the answer is unknown.
        return False if asked is None and timesyncd.is_dir() else asked

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def _number(self, path: str) -> float | None:
        found = re.match(r"-?\d+", self._text(path))
        return float(found[0]) if found else None

    def _temperature_c(self) -> float | None:
        """Return the temperature of the processor's hottest zone."""
        self._zones = self._zones or self._cpu_zones()
        read = (self._number(f"{zone}/temp") for zone in self._zones)
        lowest_c, highest_c = TEMPERATURES_C
        found_c = [round(millidegrees / 1000, 1) for millidegrees in read if millidegrees is not None]
        return max((each_c for each_c in found_c if lowest_c <= each_c <= highest_c), default=None)

    def _cpu_zones(self) -> tuple[str, ...]:
        found = sorted((self._root / "sys/class/thermal").glob("thermal_zone*"))
        zones = [str(zone.relative_to(self._root)) for zone in found]
        return tuple(zone for zone in zones if CPU_ZONE.search(self._text(f"{zone}/type"))) \
            or tuple(zone for zone in zones if zone.endswith("/thermal_zone0"))

    def _frequency(self) -> tuple[float | None, float | None, bool | None]:
        """Return the fastest processor's kHz, its hardware's maximum, and whether less is allowed than before."""
        cores = sorted((self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
        highest = {core: self._number(f"{core.relative_to(self._root)}/cpuinfo_max_freq") or 0 for core in cores}
        fastest = max(cores, key=lambda core: highest[core], default=None)
        if fastest is None:
            return None, None, None
        place = fastest.relative_to(self._root)
        allowed = self._number(f"{place}/scaling_max_freq")
        self._allowed_khz = max(self._allowed_khz, allowed or 0)
        return (self._number(f"{place}/scaling_cur_freq"), highest[fastest] or None,
                None if allowed is None else allowed < SLOWED_BELOW * self._allowed_khz)

    def _rss_mb(self, process: str) -> float | None:
        found = re.match(r"\d+ (\d+)", self._text(f"proc/{process}/statm"))
        return _megabytes(int(found[1]) * os.sysconf("SC_PAGE_SIZE")) if found else None

    def _memory_mb(self) -> dict[str, float]:
        fields = re.findall(r"^(\w+): +(\d+) kB$", self._text("proc/meminfo"), re.MULTILINE)
        return {name: _megabytes(int(kibibytes) * 1024) for name, kibibytes in fields}

    def _disk_mb(self) -> tuple[float | None, float | None]:
        """Return the free space, and the size of the disk."""
        try:
            disk = os.statvfs(self._state_path)
        except OSError:
            return None, None
        return _megabytes(disk.f_bavail * disk.f_frsize), _megabytes(disk.f_blocks * disk.f_frsize)

    def _throttle_bits(self) -> int | None:
        digits = self._text("sys/devices/platform/soc/soc:firmware/get_throttled").strip()
        if not digits and self._vcgencmd:
            digits = _ask_firmware(self._vcgencmd)
            self._vcgencmd = self._vcgencmd if digits else ""
        return int(digits, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", digits) else None

    def _throttling(self) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        bits = self._throttle_bits()
        if bits is None:
            return None, None
        # The kernel's own voltage watch clears the firmware's "ever" bits every two seconds, so they are stored here.
        self._throttled_ever |= bits | bits >> STICKY_SHIFT
        return _names(bits), _names(self._throttled_ever)


def kernel_clock_synced() -> bool | None:
    """Return adjtimex(2)'s answer, which changes nothing; None if a sandbox forbids the call."""
    timex = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & STA_UNSYNC and timex.maxerror < CLOCK_ERROR_LIMIT_US


class _Timex(ctypes.Structure):
    """The head of `struct timex` (linux/timex.h). The kernel also writes the rest, which is not read here."""

    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
                ("rest", ctypes.c_byte * 256))


def _ask_firmware(vcgencmd: str) -> str:
    """Return the hexadecimal digits of `throttled=0x50000`, or nothing."""
    try:
        answer = subprocess.run([vcgencmd, "get_throttled"], stdin=subprocess.DEVNULL, capture_output=True,
                                timeout=VCGENCMD_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode("ascii", "replace").strip().removeprefix("throttled=")


def _names(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in THROTTLE_BITS.items() if bits >> bit & 1)


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)
