"""An emulated ARM board: a folder with Debian, made by debootstrap, whose programs run under QEMU's user emulation.

XNNPACK reads in /proc/cpuinfo and /sys/devices/system/cpu which processor it is on, and takes no graph where it cannot.
QEMU shows this machine's there, so the files of a board lie above them. What is mounted for that is seen by the
processes of one mount namespace only, and goes with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.network.another_host import (
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    checked,
    mount,
    unshare,
)

PROJECT = Path(__file__).parents[3]
PACKAGES = "ca-certificates,python3,python3-venv"
APT_PACKAGES = ("python3-numpy", "python3-opencv", "python3-yaml")
HANDLERS = Path("/proc/sys/fs/binfmt_misc")
EMULATORS = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".campaign", ".train", "__pycache__", ".*_cache", ".hypothesis",
                                  ".coverage*")
CORES = 4


@dataclass(frozen=True)
class Processor:
    """What the files of a board say: features, variant, part and revision as in /proc/cpuinfo, and the highest clock.
    """

    architecture: int
    features: str
    variant: str
    part: str
    revision: int
    khz: int

    def cpuinfo(self) -> str:
        return "".join(
            f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: {self.architecture}\nCPU variant\t: {self.variant}\nCPU part\t: {self.part}\n"
            f"CPU revision\t: {self.revision}\n\n" for core in range(CORES))

    def files(self) -> Mapping[str, object]:
        """The files below /sys/devices/system/cpu."""
        cores = f"0-{CORES - 1}"
        files: dict[str, object] = {"possible": cores, "present": cores, "online": cores, "kernel_max": 7}
        for core in range(CORES):
            files |= {f"cpu{core}/cpufreq/cpuinfo_max_freq": self.khz, f"cpu{core}/cpufreq/cpuinfo_min_freq": 600000,
                      f"cpu{core}/topology/core_id": core, f"cpu{core}/topology/physical_package_id": 0,
                      f"cpu{core}/topology/core_siblings_list": cores,
                      f"cpu{core}/topology/thread_siblings_list": core}
        return files


PROCESSORS = {
    "cortex-a72": Processor(8, "fp asimd evtstrm crc32 cpuid", "0x0", "0xd08", 3, 1_800_000),
    "cortex-a76": Processor(8, "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
                               "dcpop asimddp", "0x4", "0xd0b", 1, 2_400_000),
    "cortex-a7": Processor(7, "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm",
                           "0x0", "0xc07", 5, 900_000)}
"""By QEMU's names: those of a Pi 4, a Pi 5 and a Pi 2."""


class Root:
    """One folder of Debian, such as `bookworm-arm64`, below `roots`."""

    def __init__(self, roots: Path, name: str) -> None:
        self.name = name
        self.folder = roots.absolute() / name
        self._suite, self.architecture = name.split("-")
        self._environment: dict[str, str] = {}

    @property
    def made(self) -> bool:
        """Whether debootstrap has finished here."""
        return (self.folder / "usr/bin/python3").exists() and not (self.folder / "debootstrap").exists()

    @property
    def installed(self) -> bool:
        """Whether Vedette is installed in here, of whatever state of the code."""
        return (self.folder / "opt/vedette/current").is_symlink()

    def make(self, log: Path) -> None:
        """Make it, unless it is made. Raises: CalledProcessError."""
        if self.made:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        with log.open("ab") as output:
            subprocess.run(["debootstrap", f"--arch={self.architecture}", "--variant=minbase", f"--include={PACKAGES}",
                            self._suite, self.folder], stdout=output, stderr=output, check=True)

    def enter(self, cpu: str) -> None:
        """Be a board with this processor for every command that follows, in this mount namespace only."""
        board = PROCESSORS[cpu]
        for name, value in board.files().items():
            path = self.folder / "sys/devices/system/cpu" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        cpuinfo = self.folder / "var/cpuinfo"
        cpuinfo.write_text(board.cpuinfo())
        proc = self.folder / "proc"
        if not (proc / "self").exists():
            mount(b"proc", str(proc), b"proc", 0)
            mount(b"tmpfs", str(self.folder / "dev/shm"), b"tmpfs", 0)
        mount(bytes(cpuinfo), str(proc / "cpuinfo"), None, MS_BIND)
        shutil.copy("/" + CERTIFICATES, self.folder / CERTIFICATES)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.folder / "etc")
        self._environment = {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive", "PIP_CERT": f"/{CERTIFICATES}", "PYTHONUNBUFFERED": "1",
            "STATE_DIRECTORY": "/var/lib/arm", "QEMU_CPU": cpu}

    def copy_project(self) -> None:
        """Copy this checkout to /vedette."""
        shutil.rmtree(self.folder / "vedette", ignore_errors=True)
        shutil.copytree(PROJECT, self.folder / "vedette", symlinks=True, ignore=LEFT_OUT)

    def bind_project(self) -> None:
        """Show this checkout itself at /vedette, in this mount namespace only."""
        (self.folder / "vedette").mkdir(exist_ok=True)
        mount(bytes(PROJECT), str(self.folder / "vedette"), None, MS_BIND)

    def give(self, files: Sequence[Path], name: str = "pictures") -> list[str]:
        """Copy files into the root; returns their paths in there."""
        self.clear(f"var/{name}")
        for path in files:
            shutil.copy(path, self.folder / "var" / name)
        return [f"/var/{name}/{path.name}" for path in files]

    def clear(self, name: str) -> None:
        """Empty a folder."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)

    def command(self, *words: object) -> dict[str, Any]:
        """The arguments of Popen for a command in here, started in /vedette."""
        return {"args": ["chroot", self.folder, "env", "-C", "/vedette", *map(str, words)], "env": self._environment,
                "text": True}

    def run(self, *words: object, timeout_s: float, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in here to its end."""
        return subprocess.run(**self.command(*words), capture_output=True, timeout=timeout_s, check=False, **how)


def missing() -> list[str]:
    """What this machine lacks for an emulated board, after its handlers of foreign programs were asked for."""
    lacks = [] if os.geteuid() == 0 else ["root"]
    lacks += [package for program, package in (("debootstrap", "debootstrap"), ("chroot", "coreutils"), *(
        (f"{emulator}-static", "qemu-user-static") for emulator in EMULATORS.values()))
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None]
    if lacks:
        return sorted(set(lacks))
    if not (HANDLERS / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", HANDLERS], capture_output=True, check=False)
    for emulator in EMULATORS.values():
        if not (HANDLERS / emulator).exists() and shutil.which("update-binfmts"):
            subprocess.run(["update-binfmts", "--enable", emulator], capture_output=True, check=False)
    return [f"the handler {HANDLERS / emulator}" for emulator in EMULATORS.values()
            if not (HANDLERS / emulator).exists()]


def own_mounts() -> None:
    """Let what this process mounts from now on be seen by it and its children only. Raises: OSError."""
    checked(unshare(CLONE_NEWNS))
    mount(b"none", "/", None, MS_REC | MS_PRIVATE)
