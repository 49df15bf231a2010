"""What `tools/install-locked` gives to pip: each file is checked, and 32-bit ARM uses what apt has."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
APT = ["numpy", "opencv-python-headless", "pyyaml"]
# Says that it is a 32-bit ARM, with what apt has, and keeps the requirements that pip gets.
ARM_PYTHON = """#!/bin/sh
for file; do :; done
case "$*" in
    *machine*) echo "arm$APT" ;;
    *" -r "*) echo "$*" >"$KEPT/options"; cp "$file" "$KEPT/requirements" ;;
esac
"""


def install_locked(python: Path | str, lock: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Without a project: pip only prints its help in place of installing one."""
    return subprocess.run([ROOT / "tools/install-locked", python, lock, "--help"], capture_output=True, text=True,
                          timeout=240, env={**os.environ, **environ})


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with the wheel of one package."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    return folder


@pytest.mark.parametrize(("line", "installed"), [
    ("tiny==1.0 --hash=sha256:{digest}", True), ("tiny==1.0 --hash=sha256:" + "0" * 64, False), ("tiny==1.0", False)])
def test_only_the_pinned_file_is_installed(tmp_path: Path, wheels: Path, line: str, *, installed: bool) -> None:
    """Another file of the same version is refused, and so is a version without a hash."""
    digest = sha256((wheels / "tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lock, target = tmp_path / "lock.txt", tmp_path / "target"
    lock.write_text(line.format(digest=digest))
    done = install_locked(sys.executable, lock, {
        "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_TARGET": str(target)})
    assert (done.returncode == 0, (target / "tiny.py").exists()) == (installed, installed), done.stderr


@pytest.mark.parametrize("apt", [APT, [], APT[:1]], ids=["all from apt", "none", "one"])
@pytest.mark.parametrize("lock", ["device", "device-numpy1"])
def test_32_bit_arm_gets_what_apt_does_not_have(tmp_path: Path, lock: str, apt: list[str]) -> None:
    """Hashes are checked only if apt has all that the registry lacks. A source archive would build for hours there.

    No marker asks for the processor, since a 32-bit Python under a 64-bit kernel would get LiteRT, which it cannot use.
    """
    python = tmp_path / "python"
    python.write_text(ARM_PYTHON)
    python.chmod(0o755)
    found = "".join(f" {name}" for name in apt)
    assert install_locked(python, ROOT / f"locks/{lock}.txt", {"KEPT": str(tmp_path), "APT": found}).returncode == 0
    given = (tmp_path / "requirements").read_text()
    names = [line.partition("==")[0] for line in given.splitlines() if "==" in line]
    locked = (ROOT / f"locks/{lock}.txt").read_text().splitlines()
    assert names == [line.partition("==")[0] for line in locked if "==" in line and "!= 'armv7l'" not in line
                     and line.partition("==")[0] not in apt]
    assert {"tflite-runtime", "pydantic-core"} <= set(names)
    assert "platform_machine" not in given
    options = (tmp_path / "options").read_text()
    assert "--only-binary :all: --no-deps" in options
    assert ("--require-hashes" in options, "--hash=" in given) == ((True, True) if apt == APT else (False, False))
