"""Campaign `deb`: the Debian package in bookworm and trixie, with systemd running.

    .venv/bin/python tests/campaign/deb.py --state .campaign/deb.json

`tools/deb` builds the package of each release, and lintian reads it. A fresh Debian boots in systemd-nspawn, without a
network. There the package is installed, upgraded, removed and purged with apt. The drawn street is the camera, and
mosquitto the broker. An upgrade is also cut off: dpkg alone is killed, or the whole machine, while files are unpacked,
while the new program is tried, and while units are restarted. One upgrade brings a program that does not get ready.
After each step the two instances must be online and publish detections, with the program that is expected. Each step
has its log beside the state. It needs root, debootstrap, lintian and systemd-container. One JSON line; 1 when anything
is wrong. A release that is done is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting.until import wait_until

ROOT = Path(__file__).parents[2]
TOOLS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "lintian": "lintian"}
SUITES = ("bookworm", "trixie")
LIMIT_S = 900
OPT = "usr/lib/vedette"
CONFIG = "camera: {{source: synthetic, width: 320, height: 180}}\ndevice: {device}\npublish: {{results: all}}\n"
UNITS = {"vedette.service": "plain", "vedette@front.service": "front"}
PAGE = "vedette-page.service"
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8780/metrics', timeout=60).read().decode())"


class Wrong(Exception):
    """A step did not do what it must."""


class Machine:
    """A folder with Debian, where systemd runs as it does on a device."""

    def __init__(self, root: Path, logs: Path) -> None:
        self.root, self.logs, self.step = root, logs, "prepare"
        self.nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def boot(self) -> None:
        """Start systemd, and wait until it has started everything."""
        with (self.logs / "console.log").open("ab") as console:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "--quiet", "--boot",
                 "--directory", self.root], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        self.wait("systemd starts", lambda: any(
            Path(f"/proc/{child}/comm").read_text() == "systemd\n" for child in children.read_text().split()))
        self.leader = int(children.read_text().split()[-1])
        self.wait("systemd answers", lambda: self.run("systemctl is-system-running --wait", None)[1].strip() in (
            "running", "degraded"))

    def cut_power(self) -> None:
        """Kill everything at once."""
        assert self.nspawn
        os.kill(self.leader, signal.SIGKILL)
        self.nspawn.wait(LIMIT_S)
        self.nspawn = None

    def run(self, command: str, code: int | None = 0) -> tuple[int, str]:
        """Run a command to its end; returns its code and output. Raises Wrong for another code than the expected."""
        done = subprocess.run(self._inside(command), capture_output=True, text=True, timeout=LIMIT_S)
        output = done.stdout + done.stderr
        self.note(f"# {command}\n{output}= {done.returncode}\n")
        if code not in (None, done.returncode):
            raise Wrong(f"{self.step}: {command!r} ended with {done.returncode}: {output[-600:]}")
        return done.returncode, output

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command."""
        with self._log().open("a") as log:
            return subprocess.Popen(self._inside(command), stdout=log, stderr=log, text=True)

    def _inside(self, command: str) -> list[str]:
        return ["nsenter", "--target", str(self.leader), "--all", "--root", "--wd", "env", "-i", "LC_ALL=C.UTF-8",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "sh", "-c",
                f"cd /root && {command}"]

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until this is true. Raises Wrong when it is not within the limit."""
        if not wait_until(true, LIMIT_S):
            raise Wrong(f"{self.step}: not within {LIMIT_S} s: {what}")

    def note(self, text: str) -> None:
        """Add to the log of the step."""
        with self._log().open("a") as log:
            log.write(text)

    def _log(self) -> Path:
        return self.logs / f"{self.step.replace(' ', '-')}.log"


def must_run(machine: Machine, version: str) -> None:
    """Both instances run this version, are online and publish detections. The page shows them."""
    for unit in (*UNITS, PAGE):
        machine.wait(f"{unit} is active", lambda unit=unit: machine.run(   # type: ignore[misc]
            f"systemctl is-active {unit}", None)[0] == 0)
        program = machine.run(f"tr '\\0' '\\n' </proc/$(systemctl show -P MainPID {unit})/cmdline | head -1")[1].strip()
        said = machine.run(f"{program} -P -m vedette --version")[1].strip()
        if said != f"vedette {version}":
            raise Wrong(f"{machine.step}: {unit} runs {said}, not {version}")
    for device in UNITS.values():
        machine.run(f"mosquitto_sub -W 300 -C 1 -t vedette/{device}/availability | grep online")
        machine.run(f"mosquitto_sub -W 300 -C 1 -t vedette/{device}/detections | grep detections")
        machine.wait(f"the page shows {device}", lambda device=device: machine.run(   # type: ignore[misc]
            f'{program} -P -c "{ASK}" | grep \'^vedette_up.*"{device}".* 1$\'', None)[0] == 0)


def must_be(machine: Machine, *, there: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> None:
    """These paths exist, and those do not."""
    found = [f"{path} is not there" for path in there if not list(machine.root.glob(path))]
    found += [f"{path} is there" for path in gone if list(machine.root.glob(path))]
    if found:
        raise Wrong(f"{machine.step}: {', '.join(found)}")


def install(machine: Machine) -> None:
    """A fresh installation starts the daemon with the default configuration, and gives each thing its place."""
    machine.run("apt-get install -y ./first.deb")
    machine.run("systemctl is-active vedette && systemctl is-enabled vedette && systemctl status vedette")
    machine.run(f"systemctl is-enabled {PAGE} || systemctl is-active {PAGE}", 3)
    must_be(machine, there=("usr/share/man/man1/vedette.1.gz", "usr/share/bash-completion/completions/vedette",
                            "usr/share/doc/vedette/examples/mosquitto.acl", "usr/lib/sysusers.d/vedette.conf"))
    modes = machine.run("stat -c '%a %U:%G' /etc/vedette /etc/vedette/config.yaml /var/lib/vedette")[1].split("\n")
    if modes[:3] != ["750 root:vedette", "640 root:vedette", "750 vedette:vedette"]:
        raise Wrong(f"modes {modes}")
    machine.run("id vedette | grep video")
    machine.run("apt-get install -y mosquitto mosquitto-clients")
    for unit, device in UNITS.items():
        name = "config" if device == "plain" else device
        (machine.root / f"etc/vedette/{name}.yaml").write_text(CONFIG.format(device=device))
        machine.run(f"chgrp vedette /etc/vedette/*.yaml && systemctl enable {unit} && systemctl restart {unit}")
    machine.run(f"systemctl enable --now {PAGE}")
    seen = machine.run(f"nsenter -t $(systemctl show -P MainPID {PAGE}) -m ls -A /etc/vedette /var/lib/vedette")[1]
    if seen.split() != ["/etc/vedette:", "/var/lib/vedette:"]:
        raise Wrong(f"the page sees {seen}")


def upgrade(machine: Machine) -> None:
    """What ran is restarted with the new program, and nothing of the old one stays. The other installer refuses."""
    shutil.copytree(ROOT / "systemd", machine.root / "root/systemd")
    machine.run("systemd/install.sh", 69)
    machine.run("apt-get install -y ./second.deb")
    if len(list((machine.root / OPT).glob("venv-*"))) != 1:
        raise Wrong("upgrade: the old program is still there")


def cut(machine: Machine, what: str, at: str) -> None:
    """End an upgrade to the first version at this moment, and finish it. The old program runs until then."""
    moments = {
        "unpack": lambda: any((machine.root / OPT / "package/lib").rglob("*.dpkg-new")),
        "try": lambda: len(list((machine.root / OPT).glob("venv-*/bin/vedette"))) > 1,
        "restart": (machine.root / OPT / "restarting").exists,
    }
    upgrading = machine.start("exec setsid dpkg --install first.deb")
    machine.wait(at, moments[at])
    if what == "dpkg":
        machine.run("pkill -KILL -x dpkg; pkill -KILL -f vedette.postinst", None)
    else:
        machine.cut_power()
        machine.boot()
    upgrading.wait(LIMIT_S)
    must_run(machine, "0.0.1" if at == "restart" else "0.0.2")
    machine.run("dpkg --configure -a", None)
    if "half-installed" in machine.run("dpkg --status vedette")[1]:
        machine.run("dpkg --install first.deb")     # apt does not do it
    must_run(machine, "0.0.1")
    machine.run("apt-get check && apt-get install -y ./second.deb")
    must_run(machine, "0.0.2")


def broken(machine: Machine) -> None:
    """apt reports the failure, the old program is back, and a later version repairs all."""
    said = machine.run("apt-get install -y ./broken.deb", 100)[1]
    if "the old program is back: vedette 0.0.2" not in said:
        raise Wrong(f"broken: apt says {said[-400:]}")
    must_run(machine, "0.0.2")
    machine.cut_power()
    machine.boot()
    must_run(machine, "0.0.2")
    machine.run("apt-get install -y --allow-downgrades ./second.deb")


def remove(machine: Machine) -> None:
    """Program and units go. Configuration and state stay, and a new installation takes them up."""
    machine.run("apt-get remove -y vedette")
    must_be(machine, there=("etc/vedette/config.yaml", "etc/vedette/front.yaml", "var/lib/vedette/*"),
            gone=(OPT, "usr/bin/vedette", "usr/lib/systemd/system/vedette*"))
    machine.run("pgrep -u vedette", 1)
    machine.run(f"apt-get install -y ./second.deb && systemctl start vedette@front {PAGE}")


def purge(machine: Machine) -> None:
    """Nothing stays but the user."""
    machine.run("apt-get remove -y vedette")
    machine.run("apt-get purge -y vedette")
    left = machine.run("find / -xdev -iname '*vedette*' ! -path '/proc/*' ! -path '/var/log/*' ! -path '/root/*'")[1]
    if left.strip():
        raise Wrong(f"purge leaves {left}")
    machine.run("id vedette")
    machine.run("systemd/uninstall.sh && PURGE=1 systemd/uninstall.sh && PURGE=1 systemd/uninstall.sh")
    machine.run("id vedette", 1)


def build(suite: str, folder: Path) -> None:
    """Build the package, and pack it again as two versions, and as a third one whose daemon ends at its start."""
    with (folder / "logs/build.log").open("w") as log:
        subprocess.run([ROOT / "tools/deb"], check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={
            **os.environ, "SUITE": suite, "ARCH": "amd64", "OUT": str(folder), "DPKG_DEB_COMPRESSOR_TYPE": "gzip",
            "DPKG_DEB_COMPRESSOR_LEVEL": "1"})
        built = next(folder.glob("vedette_*_amd64.deb"))
        lint = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", built], stdout=log, stderr=log)
    if lint.returncode:
        raise Wrong(f"build: lintian complains; see {log.name}")
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--raw-extract", built, unpacked], check=True)
    package = next(unpacked.glob(f"{OPT}/package/lib/python3*/site-packages/vedette"))
    control = unpacked / "DEBIAN/control"
    fields = control.read_text().split("\n")
    for number, name in enumerate(("first", "second", "broken"), 1):
        (package / "__init__.py").write_text(f'"""The program."""\n\n__version__ = "0.0.{number}"\n')
        if name == "broken":
            (package / "cli/run.py").write_text((package / "cli/run.py").read_text().replace(
                "def run(", 'def run(args):\n    """End."""\n    return 1\n\n\ndef _run(', 1))
        for cached in package.rglob("*.pyc"):
            cached.unlink()
        control.write_text("\n".join(f"Version: 0.0.{number}" if field.startswith("Version:") else field
                                     for field in fields))
        subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", unpacked, folder / f"{name}.deb"], check=True,
                       stdout=subprocess.DEVNULL)
    shutil.rmtree(unpacked)


def make_machine(suite: str, folder: Path) -> Path:
    """Make a fresh Debian, with the packages downloaded that apt will want in there."""
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", "--include=systemd-sysv,dbus,procps", suite, root],
                   check=True, stdout=subprocess.DEVNULL)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for name in ("first", "second", "broken"):
        shutil.move(folder / f"{name}.deb", root / "root")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/apt/apt.conf.d/90campaign").write_text('APT::Install-Recommends "0";\nAPT::Sandbox::User "root";\n')
    subprocess.run(["chroot", root, "sh", "-ec", """
        apt-get update -q
        apt-get install -q -y --download-only /root/first.deb mosquitto mosquitto-clients"""], check=True,
                   stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return root


def check(suite: str, folder: Path) -> list[str]:
    """Go through all steps on one release; returns what is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    logs = folder / "logs"
    logs.mkdir(parents=True)
    try:
        build(suite, folder)
    except Wrong as error:
        return [f"{suite}: {error}"]
    machine = Machine(make_machine(suite, folder), logs)
    steps: list[tuple[str, Callable[[], None], str]] = [
        ("install", lambda: install(machine), "0.0.1"), ("upgrade", lambda: upgrade(machine), "0.0.2")]
    steps += [(f"{what} killed at {at}", lambda what=what, at=at: cut(machine, what, at), "0.0.2")   # type: ignore[misc]
              for what, at in (("dpkg", "unpack"), ("dpkg", "try"), ("machine", "unpack"), ("machine", "try"),
                               ("machine", "restart"))]
    steps += [("broken", lambda: broken(machine), "0.0.2"), ("remove", lambda: remove(machine), "0.0.2"),
              ("purge", lambda: purge(machine), "")]
    try:
        machine.boot()
        for machine.step, step, version in steps:
            began = time.monotonic()
            step()
            if version:
                must_run(machine, version)
            print(f"{suite}: {machine.step}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    except Wrong as error:
        return [f"{suite}: {error}"]
    finally:
        if machine.nspawn:
            machine.cut_power()
    return []


def main() -> int:
    """Run the campaign; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=Path(".campaign/deb.json"), help="the folders are beside it")
    parser.add_argument("--suite", choices=SUITES, action="append", help="only this release")
    args = parser.parse_args()
    absent = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if absent or os.geteuid() != 0:
        print(json.dumps({"campaign": "deb", "skipped": f"needs root and {', '.join(absent) or 'nothing else'}"}))
        return 0
    folder = args.state.absolute().with_suffix("")
    done = json.loads(args.state.read_text()) if args.state.exists() else []
    wrong = []
    for suite in args.suite or SUITES:
        if suite not in done:
            found = check(suite, folder / suite)
            wrong += found
            if not found:
                done.append(suite)
                args.state.write_text(json.dumps(done))
                shutil.rmtree(folder / suite / "root")
    print(json.dumps({"campaign": "deb", "releases": done, "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
