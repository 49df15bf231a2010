"""Campaign `v4l2`: V4L2 cameras are listed and opened, with the kernel's test driver vivid in a virtual machine.

    .venv/bin/python tests/campaign/v4l2.py --state .campaign/v4l2.json

Debian's kernel boots in QEMU with two cameras of vivid, and sees the files of this machine, read-only. In there
`vedette camera list` must list both, the first by its stable name, with formats, sizes and rates. The source `auto`
must open it, give frames with the time of the driver, and show the colour bars of vivid. It needs root, QEMU, busybox
and cpio, and downloads the kernel once. One JSON line; 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "dpkg": "dpkg"}
MODULES = {"virtio_pci": "", "9pnet_virtio": "", "9p": "",
           "vivid": "n_devs=2 node_types=1,1 num_inputs=1,1 input_types=0,0"}
BOOT_LIMIT_S = 900
STABLE = "/dev/v4l/by-path/platform-vivid.0-video-index0"
BARS = ((192, 192, 192), (0, 192, 192), (192, 192, 0), (0, 192, 0), (192, 0, 192), (0, 0, 192), (192, 0, 0), (0, 0, 0))
"""The colour bars at 75 %, as BGR, from left to right."""
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
{modules}
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro host /host
mkdir -p /dev/shm /dev/v4l/by-path; mount -t tmpfs tmp /dev/shm; ln -s ../../video0 {stable}
mount --bind /dev /host/dev; mount -t proc proc /host/proc; mount -t sysfs sys /host/sys
export HOME=/dev/shm TMPDIR=/dev/shm STATE_DIRECTORY=/dev/shm PYTHONDONTWRITEBYTECODE=1
chroot /host {python} {program} --inside
poweroff -f
"""


def inside() -> None:
    """Run the commands in the virtual machine, and print what came of them in one line."""
    import cv2

    from tests.support.daemon.cameras import make_settings, running
    command = [sys.executable, "-m", "vedette"]
    listed = subprocess.run([*command, "camera", "list", "--json"], capture_output=True, text=True, check=False)
    saved = Path(os.environ["TMPDIR"]) / "bars.jpg"
    subprocess.run([*command, "snapshot", "--source", "auto", "--wait", "300", "--out", saved], check=False)
    picture = cv2.imread(str(saved))
    bars = [] if picture is None else [
        picture[-picture.shape[0] // 4:, (2 * bar + 1) * picture.shape[1] // 16].mean(axis=0).round().tolist()
        for bar in range(len(BARS))]
    ages_ms = []
    with running(make_settings("auto", fps=15.0)) as camera:
        for _ in range(300):
            frame = camera.take(1.0)
            if frame is not None:
                ages_ms.append((frame.handed_over_ns - frame.captured_ns) / 1e6)
                camera.release(frame)
            if len(ages_ms) == 30:
                break
    result = {"listed": json.loads(listed.stdout or "{}"), "bars": bars, "ages_ms": ages_ms}
    print("RESULT", json.dumps(result), flush=True)


def faults(result: dict[str, Any]) -> list[str]:
    """What is wrong with what came of the commands."""
    cameras = result["listed"].get("cameras", [])
    sources = [camera["source"] for camera in cameras]
    found = [] if sources == [STABLE, "/dev/video1"] else [f"listed {sources}"]
    for camera in cameras:
        modes = {(mode["format"], mode["width"], mode["height"]): mode["fps"] for mode in camera["modes"]}
        rates = modes.get(("YUYV", 640, 480), [])
        if camera["name"] != "vivid" or not rates or rates != sorted(rates, reverse=True):
            found.append(f"{camera['source']}: {camera['name']}, YUYV 640 x 480 at {rates}")
    distance = max((abs(seen - is_) for bar, expected in zip(result["bars"], BARS, strict=False)
                    for seen, is_ in zip(bar, expected, strict=True)), default=255)
    if len(result["bars"]) != len(BARS) or distance > 16:
        found.append(f"colour bars {result['bars']}")
    if len(result["ages_ms"]) < 30 or min(result["ages_ms"]) <= 0:
        found.append(f"{len(result['ages_ms'])} frames of the ages {result['ages_ms'][:3]} ms")
    return found


def initial_filesystem(kernel: Path, folder: Path) -> Path:
    """Make the first file system of the machine: busybox, the kernel's modules, and what to run."""
    version = next((kernel / "lib/modules").iterdir()).name
    modules = kernel / "lib/modules" / version
    subprocess.run(["busybox", "depmod", "-b", kernel, version], check=True)
    needs = {Path(name).stem: (name, re.findall(r"\S+", others)) for name, others in
             re.findall(r"^(\S+\.ko):(.*)$", (modules / "modules.dep").read_text(), re.MULTILINE)}
    ordered: dict[str, str] = {}

    def load(name: str) -> None:
        path, others = needs[name]
        for other in reversed(others):
            load(Path(other).stem)
        ordered.setdefault(path, MODULES.get(name, ""))
    for name in MODULES:
        load(name)
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "modules", "proc", "sys", "dev", "host"):
        (root / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), root / "bin/busybox")
    for path in ordered:
        shutil.copy(modules / path, root / "modules")
    loads = "\n".join(f"insmod /modules/{Path(path).name} {options}" for path, options in ordered.items())
    (root / "init").write_text(INIT.format(modules=loads, stable=STABLE, python=sys.executable,
                                           program=Path(__file__).resolve()))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    archive = folder / "initrd"
    with archive.open("wb") as output:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=output, cwd=root,
                       check=True)
    return archive


def debian_kernel(folder: Path) -> Path:
    """Download and unpack Debian's kernel, once."""
    kernel = folder / "kernel"
    if not kernel.exists():
        needs = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True,
                               check=True)
        name = re.search(r"Depends: (linux-image-\S+)", needs.stdout)
        if name is None:
            raise SystemExit(f"no kernel of Debian: {needs.stdout}")
        subprocess.run(["apt-get", "download", "-qq", name[1]], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", next(folder.glob("linux-image-*.deb")), kernel], check=True)
    return kernel


def boot(folder: Path) -> dict[str, Any]:
    """Boot the machine, and return what it printed as its result. It is empty when there was none."""
    kernel = debian_kernel(folder)
    initrd = initial_filesystem(kernel, folder)
    log = folder / "console.log"
    with log.open("wb") as console:
        subprocess.run(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "Haswell", "-m", "1500", "-nographic",
                        "-no-reboot", "-net", "none", "-kernel", next((kernel / "boot").glob("vmlinuz-*")),
                        "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1", "-virtfs",
                        "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
                       stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=BOOT_LIMIT_S, check=False)
    said = re.search(rb"RESULT (\{.*\})", log.read_bytes())
    result: dict[str, Any] = json.loads(said[1]) if said else {}
    return result


def main() -> int:
    """Run the campaign; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=Path(".campaign/v4l2.json"),
                        help="the machine's files are beside it")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside()
        return 0
    absent = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if absent or os.geteuid() != 0:
        print(json.dumps({"campaign": "v4l2", "skipped": f"needs root and {', '.join(absent) or 'nothing else'}"}))
        return 0
    folder = args.state.absolute().with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    result = boot(folder)
    wrong = faults(result) if result else [f"the machine gave no result; see {folder / 'console.log'}"]
    summary = {"campaign": "v4l2", "cameras": len(result.get("listed", {}).get("cameras", [])),
               "modes": sum(len(camera["modes"]) for camera in result.get("listed", {}).get("cameras", [])),
               "frames": len(result.get("ages_ms", [])), "wrong": wrong}
    args.state.write_text(json.dumps(summary))
    print(json.dumps(summary))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
