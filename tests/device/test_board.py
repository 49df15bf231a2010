"""The board, read from trees of files like those of real boards."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from vedette.device.board import Board, BoardReading, kernel_clock_synced

GROUP = "sys/fs/cgroup/system.slice/vedette.service"
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
NO_VCGENCMD = "/nonexistent/vcgencmd"
PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "proc/meminfo": "MemTotal:        3885396 kB\nMemAvailable:     500000 kB\nCmaFree:  250000 kB\n",
    "proc/self/statm": "60000 25000 9000 1000 0 50000 0\n",
    "proc/77/statm": "30000 12500 9000 1000 0 50000 0\n",
    "sys/class/thermal/thermal_zone0/temp": "61835\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1800000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
    "proc/pressure/memory": "some avg10=1.50 avg60=0.22 avg300=0.04 total=1000000\nfull avg10=0.00 total=0\n",
    "proc/self/cgroup": "0::/system.slice/vedette.service\n",
    f"{GROUP}/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    f"{GROUP}/memory.current": "200000000\n",
    f"{GROUP}/memory.max": "512000000\n",
    f"{GROUP}/memory.high": "max\n",
    f"{GROUP}/memory.stat": "anon 90000000\nfile 110000000\nshmem 60000000\nactive_file 20000000\n"
                            "inactive_file 30000000\nslab_reclaimable 1000000\n",
    THROTTLED: "50005\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_every_figure_of_a_pi_is_read(tmp_path: Path) -> None:
    """Every figure of a Raspberry Pi is read in its unit."""
    board = Board(tmp_path, tree(tmp_path, PI), NO_VCGENCMD)
    reading = board.read(capture_pid=77)
    page = os.sysconf("SC_PAGE_SIZE")
    assert board.name == "Raspberry Pi 4 Model B Rev 1.5"
    assert reading.temperature_c == 61.8
    assert reading.throttled_now == ("under_voltage", "throttled")
    assert reading.throttled_ever == ("under_voltage", "throttled")
    assert (reading.rss_mb, reading.capture_rss_mb) == (round(25000 * page / 1e6, 1), round(12500 * page / 1e6, 1))
    assert (reading.memory_available_mb, reading.cma_free_mb) == (512.0, 256.0)
    assert (reading.cpu_mhz, reading.cpu_highest_mhz, reading.cpu_slowed) == (1000, 1800, False)
    assert (reading.memory_allowed_mb, reading.memory_stalled, reading.memory_pressed) == (363.0, 0.015, False)
    assert reading.disk_free_mb is not None


def test_missing_files_are_null(tmp_path: Path) -> None:
    """A figure without a file is null, and makes no reason."""
    board = Board(tmp_path / "away", tmp_path, NO_VCGENCMD)
    reading = board.read(capture_pid=77)
    assert board.name is None
    assert reading == BoardReading(clock_synced=reading.clock_synced)
    assert BoardReading().reasons() == {}


@pytest.mark.parametrize("garbage", ["", "\n", "warm", "\0\0", "-", "zzz 5"])
def test_unexpected_content_is_null(tmp_path: Path, garbage: str) -> None:
    """A file with unexpected content counts as missing."""
    root = tree(tmp_path, dict.fromkeys(PI, garbage))
    reading = Board(tmp_path, root, NO_VCGENCMD).read(77)
    assert reading == BoardReading(disk_free_mb=reading.disk_free_mb, disk_mb=reading.disk_mb,
                                   clock_synced=reading.clock_synced)


def test_the_memory_of_this_machine_is_read() -> None:
    """On the machine that runs the test at least the memory is known."""
    reading = Board(Path("/")).read(os.getpid())
    assert reading.rss_mb is not None
    assert reading.rss_mb > 5
    assert reading.capture_rss_mb is not None
    assert reading.memory_available_mb is not None


def test_throttling_is_remembered(tmp_path: Path) -> None:
    """A flag that was read once stays in `ever`, although the kernel clears the firmware's own memory."""
    board = Board(tmp_path, tree(tmp_path, PI), NO_VCGENCMD)
    board.read()
    tree(tmp_path, {THROTTLED: "80000\n"})
    reading = board.read()
    assert reading.throttled_now == ()
    assert reading.throttled_ever == ("under_voltage", "throttled", "soft_temperature_limit")


def test_vcgencmd_is_called_without_the_kernels_file(tmp_path: Path) -> None:
    """Without the kernel's file the firmware's tool is called."""
    tool = script(tmp_path / "vcgencmd", "[ $1 = get_throttled ] && echo throttled=0x20002")
    assert Board(tmp_path, tmp_path, tool).read().throttled_now == ("frequency_capped",)


@pytest.mark.parametrize("ends", ["exit 1", "exec tail -f /dev/null"])
def test_a_failing_vcgencmd_is_called_once(tmp_path: Path, ends: str) -> None:
    """A tool that fails or hangs costs half a second once, not with every reading."""
    calls = tmp_path / "calls"
    calls.touch()   # a busy machine may end the tool before it began
    tool = script(tmp_path / "vcgencmd", f"printf x >> '{calls}'\n{ends}")
    board = Board(tmp_path, tmp_path, tool)
    assert [board.read().throttled_now for _ in range(3)] == [None, None, None]
    assert calls.read_text() in ("", "x")


ZONE = "sys/class/thermal/thermal_zone{}/{}"


@pytest.mark.parametrize(("types", "temperature_c"), [
    (["gpu-thermal", "cpu-thermal"], 51.0), (["cpu-thermal", "iwlwifi_1"], 50.0), (["acpitz", "x86_pkg_temp"], 50.0),
    (["battery", "soc_thermal", "cpu0-thermal"], 52.0), (["SoC"], 50.0), (["battery"] * 10 + ["CPU"], 60.0)])
def test_the_processors_thermometer_is_chosen(tmp_path: Path, types: list[str], temperature_c: float) -> None:
    """It is chosen by its type, the hottest of several; if none has such a type, the first."""
    for number, kind in enumerate(types):
        tree(tmp_path, {ZONE.format(number, "type"): f"{kind}\n", ZONE.format(number, "temp"): f"{50 + number}000\n"})
    assert Board(tmp_path, tmp_path, NO_VCGENCMD).read().temperature_c == temperature_c


@pytest.mark.parametrize("temp", ["255000", "-274000", "-2147483648"])
def test_an_impossible_temperature_is_ignored(tmp_path: Path, temp: str) -> None:
    """A temperature that no processor can have is not reported; another zone is used."""
    tree(tmp_path, {ZONE.format(0, "type"): "cpu0-thermal", ZONE.format(0, "temp"): temp})
    assert Board(tmp_path, tmp_path, NO_VCGENCMD).read().temperature_c is None
    tree(tmp_path, {ZONE.format(1, "type"): "cpu1-thermal", ZONE.format(1, "temp"): "48000"})
    assert Board(tmp_path, tmp_path, NO_VCGENCMD).read().temperature_c == 48.0


def test_a_lowered_frequency_limit_is_reported(tmp_path: Path) -> None:
    """It is read from the fastest core, once its limit falls; the operator set a limit that was always there."""
    cpufreq = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
    for core, highest in ((0, 1800000), (1, 1800000), (4, 2400000)):
        tree(tmp_path, {cpufreq.format(core, "cpuinfo_max_freq"): str(highest),
                        cpufreq.format(core, "scaling_max_freq"): "1600000",
                        cpufreq.format(core, "scaling_cur_freq"): f"{600 + core}000"})
    board = Board(tmp_path, tmp_path, NO_VCGENCMD)
    reading = board.read()
    assert (reading.cpu_mhz, reading.cpu_highest_mhz, reading.cpu_slowed) == (604, 2400, False)
    tree(tmp_path, {cpufreq.format(4, "scaling_max_freq"): "1000000"})
    assert board.read().cpu_slowed is True
    tree(tmp_path, {cpufreq.format(4, "scaling_max_freq"): "1600000"})
    assert board.read().cpu_slowed is False


PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


class Kernel:
    """Counts time lost to memory pressure as a kernel does, every two seconds, and is read every second."""

    def __init__(self, root: Path, file: str) -> None:
        self.now_s = 100.0
        self._total_us = self._told_us = 0
        self._root, self._file = root, file
        self.board = Board(root, root, NO_VCGENCMD, monotonic=lambda: self.now_s)
        self.read()

    def read(self) -> BoardReading:
        tree(self._root, {self._file: PRESSURE.format(self._told_us)})
        return self.board.read()

    def seconds_until(self, pressed: bool, share: float) -> float:
        """Let processes wait this share of the time, until the board reports it."""
        began_s = self.now_s
        while self.now_s - began_s < 60:
            self.now_s += 0.5
            self._total_us += int(share * 0.5e6)
            if self.now_s % 2 == 0:
                self._told_us = self._total_us
            if self.now_s % 1 == 0.5 and self.read().memory_pressed is pressed:
                break
        return self.now_s - began_s


@pytest.mark.parametrize("file", ["proc/pressure/memory", f"{GROUP}/memory.pressure"])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_memory_pressure_begins_and_ends_in_time(tmp_path: Path, file: str, share: float) -> None:
    """Pressure of the machine or of the group is reported within 5 s, and cleared within 10 s, repeatedly."""
    tree(tmp_path, {"proc/self/cgroup": PI["proc/self/cgroup"]})
    kernel = Kernel(tmp_path, file)
    for _ in range(5):
        assert kernel.seconds_until(True, share) <= 5
        assert kernel.seconds_until(False, 0.0) <= 10
    assert kernel.seconds_until(True, 0.02) == 60


def test_pressure_between_the_limits_changes_nothing(tmp_path: Path) -> None:
    """Between the two limits the state stays as it was."""
    kernel = Kernel(tmp_path, "proc/pressure/memory")
    assert kernel.seconds_until(True, 0.035) == 60
    kernel.seconds_until(True, 0.5)
    assert kernel.seconds_until(False, 0.035) == 60


def test_the_groups_lower_memory_limit_counts(tmp_path: Path) -> None:
    """The lower of both limits counts; without a limit, or without the group's files, it is null."""
    root = tree(tmp_path, PI | {f"{GROUP}/memory.high": "260000000\n"})
    assert Board(root, root, NO_VCGENCMD).read().memory_allowed_mb == 111.0
    tree(root, {f"{GROUP}/memory.current": "900000000\n"})
    assert Board(root, root, NO_VCGENCMD).read().memory_allowed_mb == 0.0
    tree(root, {f"{GROUP}/memory.high": "max\n", f"{GROUP}/memory.max": "max\n"})
    assert Board(root, root, NO_VCGENCMD).read().memory_allowed_mb is None
    tree(root, {"proc/self/cgroup": "9:name=systemd:/\n4:memory:/elsewhere\n"})
    assert Board(root, root, NO_VCGENCMD).read().memory_allowed_mb is None


@pytest.mark.parametrize(("reading", "codes"), [
    (BoardReading(throttled_now=("under_voltage",)), {"undervoltage"}),
    (BoardReading(throttled_now=("frequency_capped", "soft_temperature_limit")), {"throttled"}),
    (BoardReading(throttled_now=(), throttled_ever=("under_voltage", "throttled")), set()),
    (BoardReading(temperature_c=79.9), set()),
    (BoardReading(temperature_c=80.0), {"hot"}),
    (BoardReading(disk_free_mb=99.0, memory_available_mb=63.0), {"disk_low", "memory_low"}),
    (BoardReading(disk_free_mb=99.0, disk_mb=900.0), set()),
    (BoardReading(disk_free_mb=0.0, disk_mb=16.0), {"disk_low"}),
    (BoardReading(disk_free_mb=2.0, disk_mb=16.0), set()),
    (BoardReading(disk_free_mb=100.0, memory_available_mb=64.0, memory_allowed_mb=64.0), set()),
    (BoardReading(memory_available_mb=4000.0, memory_allowed_mb=63.9), {"memory_low"}),
    (BoardReading(memory_stalled=0.5, memory_pressed=True), {"memory_pressure"}),
    (BoardReading(memory_stalled=0.07, memory_pressed=False, cpu_slowed=True), set()),
    (BoardReading(clock_synced=False), {"clock_unsynced"}),
    (BoardReading(clock_synced=True), set()),
])
def test_each_limit_has_its_reason(reading: BoardReading, codes: set[str]) -> None:
    """Each exceeded limit makes its own reason; a past one makes none."""
    assert set(reading.reasons()) == codes


def test_timesyncds_file_means_the_clock_is_set(tmp_path: Path) -> None:
    """Timesyncd's file is enough; without it the kernel decides."""
    board = Board(tmp_path, tmp_path, NO_VCGENCMD)
    assert board.clock_synced() is kernel_clock_synced()
    tree(tmp_path, {"run/systemd/timesync/synchronized": ""})
    assert board.clock_synced() is True


FORBIDDEN = """
import ctypes, sys
from pathlib import Path
from vedette.device.board import Board
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filters", ctypes.POINTER(Filter))]
rules = [Filter(0x20, 0, 0, 0)]                                        # load the number of the system call
for number in (int(argument) for argument in sys.argv[2:]):
    rules += [Filter(0x15, 0, 1, number), Filter(0x06, 0, 0, 0x00050001)]   # this one: EPERM
rules += [Filter(0x06, 0, 0, 0x7fff0000)]                              # all others: allowed
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules), (Filter * len(rules))(*rules)))) == 0
print(Board(Path("/"), Path(sys.argv[1]), "").clock_synced())
"""
CLOCK_CALLS = {"x86_64": ("159", "305"), "aarch64": ("171", "266")}   # adjtimex, clock_adjtime


@pytest.mark.skipif(platform.machine() not in CLOCK_CALLS, reason="the numbers of the system calls are not known here")
@pytest.mark.parametrize(("folder", "answer"), [("run/systemd/timesync", "False"), ("run/chrony", "None")])
def test_a_forbidden_clock_call_is_handled(tmp_path: Path, folder: str, answer: str) -> None:
    """Under a filter like `ProtectClock=`, timesyncd's missing file means no; without timesyncd it is unknown."""
    (tmp_path / folder).mkdir(parents=True)
    output = subprocess.run([sys.executable, "-c", FORBIDDEN, str(tmp_path), *CLOCK_CALLS[platform.machine()]],
                          capture_output=True, text=True, check=True, timeout=240)
    assert output.stdout.strip() == answer
