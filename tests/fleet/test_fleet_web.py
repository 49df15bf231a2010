"""The guide's nginx and rsync, with devices that poll at any moment: the guide's statements hold."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

import pytest

from tests.support.network import nginx
from tests.support.network.operators import Operator
from vedette.errors import UpdateUnreachable
from vedette.store.release import Target
from vedette.update.source import Trusted, UpdateSource

pytestmark = pytest.mark.skipif(nginx.PROGRAM is None or shutil.which("rsync") is None,
                                reason="nginx or rsync is not installed")
MODEL = os.urandom(300_000)
ONE_SECOND = 1_795_000_000


class Device:
    """One device that polls repeatedly, beside one that was just set up."""

    def __init__(self, folder: Path, url: str, root: bytes, authority: Path) -> None:
        self._folder, self._url, self._root, self._authority = folder, url, root, authority
        self._polls = 0
        folder.mkdir()
        self.source, self.trusted = self._refresh(folder, {})

    def poll(self) -> None:
        """Poll as both devices. Raises: UpdateError."""
        self._polls += 1
        fresh = self._folder / f"fresh-{self._polls}"
        fresh.mkdir()
        self._refresh(fresh, {})
        self.source, self.trusted = self._refresh(self._folder, dict(self.trusted.floors))

    def _refresh(self, folder: Path, floors: dict[str, Any]) -> tuple[UpdateSource, Trusted]:
        source = UpdateSource(self._url, self._root, folder / "metadata", ca_file=self._authority)
        return source, source.refresh(floors, datetime.now(UTC))


def rsync_lines(www: Path, there: Path) -> list[str]:
    """Return the guide's commands, with a folder for the web server."""
    lines = re.findall(r"^\$ (rsync .*)$", (nginx.DOCS / "fleet.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    return [line.replace("web:/srv/models", str(there)).replace("www", str(www)) for line in lines]


@pytest.mark.daemon
def test_a_device_may_poll_between_the_steps(tmp_path: Path) -> None:
    """Releases, new keys of every role and renewals, all within one second by their time stamps: every poll verifies,
    what was cut off is resumed, and the headers are those that caches want."""
    operator, there = Operator(tmp_path), tmp_path / "srv/models"
    there.mkdir(parents=True)
    operator.release(MODEL)
    operator.publish()
    root = operator.root
    for line in rsync_lines(operator.served, there):
        subprocess.run(["bash", "-euc", line], check=True)
    text = (f"gzip on;\ngzip_types *;\nserver {{\nlisten 443 ssl;\nssl_certificate x;\nssl_certificate_key x;\n"
            f"root {there};\n{nginx.block('fleet.md')}\n}}")
    with nginx.nginx(tmp_path / "nginx", text) as (url, authority):
        device = Device(tmp_path / "device", url, root, authority)
        changes: tuple[Literal["release", "renew", "timestamp", "snapshot", "targets", "root"], ...] = (
            "release", "timestamp", "renew", "snapshot", "targets", "root")
        for change in changes:
            with operator.opened() as repository:
                if change == "renew":
                    repository.renew(operator.keys)
                elif change != "release":
                    repository.rotate(operator.keys, change)
            if change == "release":
                operator.release(os.urandom(1000), change)
            operator.publish()
            for path in operator.served.rglob("*.json"):
                os.utime(path, (ONE_SECOND, ONE_SECOND))
            for line in rsync_lines(operator.served, there):
                subprocess.run(["bash", "-euc", line], check=True)
                device.poll()
        assert device.trusted.floors["root"].version == 5
        assert sorted(target.release.release for target in device.trusted.targets) == [1, 2]
        resumes(device, tmp_path / "model.tflite", next(each for each in device.trusted.targets if each.length > 1000))
        asked = ssl.create_default_context(cafile=authority)
        for name, cached in (("timestamp.json", "public, max-age=60"), ("1.root.json", "public, max-age=60"),
                             ("2.targets.json", "public, max-age=31536000, immutable")):
            with urlopen(f"{url}/metadata/{name}", context=asked, timeout=240) as reply:  # noqa: S310 - https
                assert reply.headers["Cache-Control"] == cached


def resumes(device: Device, into: Path, target: Target) -> None:
    """Cut a download in the middle; the next one requests the rest only."""
    told: list[int] = []

    def cut(got: int, _of: int) -> None:
        told.append(got)
        if got > target.length // 3:
            raise UpdateUnreachable("cut")

    with pytest.raises(UpdateUnreachable):
        device.source.download(target, into, progress=cut, deadline_s=60)
    began = told[-1]
    told.clear()
    device.source.download(target, into, progress=lambda got, _: told.append(got), deadline_s=60)
    assert told[0] > began
    assert into.read_bytes() == MODEL
