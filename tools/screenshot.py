"""Make the picture of the page that README shows: `make screenshot`.

It starts `tools/demo.py`, opens its page in headless Chromium, and saves what a person sees: docs/page.jpg.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import IO

from tests.support.browser.chromium import PROGRAMS, chromium
from tests.support.present import present
from tests.support.waiting.until import wait_until

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "page.jpg"
WIDTH, HEIGHT = 1280, 800
SHOWN = 745
"""Rows of the window that the picture has: below there is nothing."""
QUALITY = 85
EX_UNAVAILABLE = 69
MOMENT = """
    const rows = [...document.querySelectorAll(".live-list tbody tr")].map((row) => [...row.children]
        .map((cell) => cell.textContent));
    const labels = rows.map(([label]) => label);
    return document.querySelector(".strip strong")?.textContent === "Watching." && rows.length > 6 && rows.length < 11
        && rows.every(([, score, track]) => score > 0.44 && track)
        && ["person", "car", "bicycle", "dog"].every((label) => labels.includes(label));
"""
"""Many kinds of things, all of them sure, and no crowd."""


def main() -> int:
    """Save the picture. Return the exit code."""
    if None in PROGRAMS:
        print("Chromium and its driver are missing; `make deps-test` installs them", file=sys.stderr)
        return EX_UNAVAILABLE
    demo = subprocess.Popen([sys.executable, ROOT / "tools" / "demo.py"], stdout=subprocess.PIPE, text=True)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            _save(Path(folder), _address(present(demo.stdout)))
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate()
    print(f"{OUT}: {OUT.stat().st_size} bytes")
    return 0


def _address(demo: IO[str]) -> str:
    """Return the address of the page, once there are results."""
    address = ""
    for line in demo:
        if found := re.match(r"page on (\S+)", line):
            address = found[1]
        if "recall 0" in line:
            break
    return address


def _save(folder: Path, address: str) -> None:
    with chromium(folder) as browser:
        browser.look(WIDTH, HEIGHT)
        browser.open(address)
        if not wait_until(lambda: browser.value(MOMENT)):
            print("no such moment came; another one is saved", file=sys.stderr)
        shot = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "format": "jpeg", "quality": QUALITY,
            "clip": {"x": 0, "y": 0, "width": WIDTH, "height": SHOWN, "scale": 1}})
        OUT.write_bytes(b64decode(shot["data"]))


if __name__ == "__main__":
    sys.exit(main())
