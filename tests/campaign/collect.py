"""Campaign `collect`: a day of the drawn street, collected: varied, masked, within the quota, and never sent.

    .venv/bin/python tests/campaign/collect.py --state .campaign/collect.json

A daemon watches the street, whose day passes in three minutes, and collects pictures of it: once until their number is
reached, once, with a region, until their megabytes are. Meanwhile the folder is looked at again and again, for the
quota. As root, that happens in a closed network in which every packet is recorded (closed_network.py): there may be
none to anything but the broker, and no message to it is as long as the smallest picture. Then the pictures are fetched
with `vedette collect fetch`. Each must be black below the masks and have no metadata. The tenths of the brightness
that the camera has shown, measured on the street itself, must have as many pictures as each other within 20 %.
Resumable by life. One JSON line; 1 when something is not so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import Subscriber
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.network.another_host import CLONE_NEWNS, MS_PRIVATE, MS_REC, checked, mount, unshare
from tests.support.network.closed_network import US, ClosedNetwork, missing
from tests.support.waiting.until import wait_until
from vedette.camera.street.options import DEFAULT_SEED
from vedette.camera.street.scene import DAY_S, Scene
from vedette.types import Box, Scaling
from vedette.vision.bounded_png import SIGNATURE
from vedette.vision.geometry import roi_pixels
from vedette.vision.privacy_masks import PrivacyMasks, hidden_pixels
from vedette.vision.scale import Scaler
from vedette.workshop.collection import FILE_TIME_S, FOLDER, RECORD
from vedette.workshop.selection import tenth

Polygon = tuple[tuple[float, float], ...]
MASKS: tuple[Polygon, ...] = (((0.0, 0.0), (0.3, 0.0), (0.25, 0.4), (0.0, 0.35)),
                              ((0.6, 0.7), (0.95, 0.75), (0.9, 1.0), (0.55, 1.0)))
DEEP = 2
"""Pixels inside a mask, in the size of the model's input. Nearer to its edge, scaling mixes both sides."""
DOUBTFUL = 0.6
EVEN = 0.2
MISSED_MAX = 0.05
"""On a machine that misses more frames of this fast day, evenness is not judged, and the last line says so."""
LUMA = (0.114, 0.587, 0.299)
LIVES_WITHIN_S = 1800.0


@dataclass(frozen=True)
class Life:
    """What one collection may have, and the part of the frame that it shows."""

    frames: int
    mb: float
    roi: tuple[float, float, float, float]


LIVES = {"number": Life(200, 20, (0, 0, 1, 1)), "megabytes": Life(200, 3, (0.1, 0.2, 0.9, 1))}


def brightness_of(numbers: Iterable[int], size: tuple[int, int], fps: float, life: Life,
                  small: tuple[int, int]) -> list[float]:
    """Return the brightness of these frames of the street: masked, the region, in the size `small`; sorted."""
    scene, masks, part = Scene(DEFAULT_SEED, *size, fps), PrivacyMasks(MASKS), roi_pixels(*size, Box(*life.roi))
    scaler = Scaler(Scaling(part.left, part.top, part.right, part.bottom, *small))
    picture, scaled = np.empty((size[1], size[0], 3), np.uint8), np.empty((small[1], small[0], 3), np.uint8)
    shown = []
    for number in numbers:
        scene.render(number, picture)
        masks.paint(picture)
        scaler.scale(picture, scaled)
        shown.append(round(float(scaled.mean(axis=(0, 1)) @ LUMA), 6))
    return sorted(shown)


def frames_of(results: list[dict[str, Any]], fps: float) -> list[int]:
    """Return the numbers of the live street's frames that have a result: each belongs to a time of the clock."""
    offset_s = time.time() - time.monotonic()
    moments = (datetime.fromisoformat(each["frame"]["captured_at"]).timestamp() for each in results)
    return [round((moment - offset_s) * fps) for moment in moments]


def chunks_of(content: bytes) -> Counter[str]:
    """Count the chunks of a PNG by their kind."""
    assert content.startswith(SIGNATURE)
    found, at = Counter[str](), len(SIGNATURE)
    while at < len(content):
        found[content[at + 4:at + 8].decode()] += 1
        at += 12 + int.from_bytes(content[at:at + 4], "big")
    return found


def judged(folder: Path, day: list[float], size: tuple[int, int], life: Life) -> dict[str, Any]:
    """Look at each fetched picture: masks, metadata, brightness."""
    tenths, told, opened = Counter[int](), list[str](), list[str]()
    left, top, right, bottom = (round(share * side) for share, side in zip(life.roi, size * 2, strict=True))
    hidden = hidden_pixels(MASKS, *size)[top:bottom, left:right].astype(np.uint8)
    paths = sorted(folder.iterdir())
    for path in paths:
        picture = np.asarray(cv2.imread(str(path)), np.uint8)
        small = cv2.resize(hidden, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        deep = cv2.erode(small, np.ones((2 * DEEP + 1, 2 * DEEP + 1), np.uint8)) > 0
        assert deep.any()
        if picture[deep].any():
            opened.append(path.name)
        if chunks_of(path.read_bytes()).keys() != {"IHDR", "IDAT", "IEND"} or path.stat().st_mtime != FILE_TIME_S:
            told.append(path.name)
        tenths[tenth(round(float(picture.mean(axis=(0, 1)) @ LUMA), 6), day)] += 1
    return {"pictures": len(paths), "open below a mask": opened, "with metadata": told,
            "tenths": [tenths[each] for each in range(10)]}


class Quota(threading.Thread):
    """Looks at a folder again and again, and keeps the most that was in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.pictures = self.size_bytes = self.looks = 0
        self.stopping = threading.Event()
        self._folder = folder

    def run(self) -> None:
        while not self.stopping.wait(0.01):
            sizes = []
            for path in self._folder.glob("*.png"):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
            self.pictures, self.size_bytes = max(self.pictures, len(sizes)), max(self.size_bytes, sum(sizes))
            self.looks += 1


def run_life(life: Life, size: tuple[int, int], fps: float, network: ClosedNetwork | None, *,
             as_film: bool) -> dict[str, Any]:
    """Collect a day, fetch the pictures and judge them."""
    with tempfile.TemporaryDirectory() as at, running(Path(at), "allow_anonymous true\n") as broker:
        folder = Path(at)
        host = US if network else "127.0.0.1"
        if network:
            broker.configure(f"allow_anonymous true\nlistener {broker.port} {US}")
            broker.stop()
            broker.start()
            network.sent.clear()
        (folder / "state").mkdir()
        config = folder / "config.yaml"
        config.write_text(
            f"device: gate\nmqtt: {{host: {host}, port: {broker.port}}}\nhealth: {{interval_s: 1}}\n"
            f"publish: {{results: all, max_per_s: 1000}}\n"
            f"camera: {{source: synthetic, every_frame: {json.dumps(as_film)}, fps: {fps}, "
            f"width: {size[0]}, height: {size[1]}, masks: {json.dumps(MASKS)}, roi: {list(life.roi)}}}\n"
            f"collect: {{enabled: true, frames: {life.frames}, mb: {life.mb}, hours: {DAY_S / 3600}}}\n")
        seen = Subscriber(broker.client(), "vedette/#")
        quota = Quota(folder / "state" / FOLDER)
        quota.start()
        program = (*network.program, "-m", "vedette", "run") if network else ("-m", "vedette", "run")
        try:
            with RunningDaemon(folder, "--config", config, program=program) as daemon:
                assert wait_until(lambda: (seen.health.get("collect") or {}).get("state") == "complete",
                                  LIVES_WITHIN_S), daemon.log
                health = seen.health["collect"]
            fetched = vedette("collect", "fetch", folder / "fetched", folder=folder)
            assert fetched.returncode == 0, fetched.stderr
        finally:
            quota.stopping.set()
            quota.join()
            seen.close()
        record = json.loads((folder / "state" / RECORD).read_text())["pictures"]
        least = min(path.stat().st_size for path in (folder / "fetched").iterdir())
        doubts = [any(each["score"] <= DOUBTFUL for each in result["detections"]) for result in seen.results]
        numbers = range(round(DAY_S * fps)) if as_film else frames_of(seen.results, fps)
        small = record[0]["width"], record[0]["height"]
        found = judged(folder / "fetched", brightness_of(numbers, size, fps, life, small), size, life)
        return {**found, "frames": len(numbers), "health": health, "looks": quota.looks,
                "most pictures": quota.pictures, "most bytes": quota.size_bytes, "smallest picture": least,
                "longest message": max(len(each.payload) for each in seen.received),
                "doubtful": [sum(each["doubtful"] for each in record) / len(record),
                             sum(doubts) / max(1, len(doubts))],
                "labels": dict(Counter(label for each in record for label in each["labels"] or ["nothing"])),
                "parts": len({each["part"] for each in record}),
                "elsewhere": network.elsewhere(broker.port) if network else None}


def missed_share(done: dict[str, Any]) -> float:
    """Return the share of frames that were not considered: then the collector does not know what was shown."""
    return float(done["health"]["missed"] / done["frames"])


def wrong(name: str, done: dict[str, Any], *, even: float) -> list[str]:
    """Say what is not as it should be."""
    life, share = LIVES[name], done["pictures"] / 10
    is_judged = bool(share) and missed_share(done) <= MISSED_MAX
    problems = {"a mask is open": done["open below a mask"], "metadata": done["with metadata"],
                "a packet to others": done["elsewhere"], "no picture": not done["pictures"],
                "a long message": done["longest message"] >= done["smallest picture"],
                "quota of pictures": done["most pictures"] > life.frames,
                "quota of bytes": done["most bytes"] > life.mb * 1e6,
                "fetched others than health counts": done["pictures"] != done["health"]["pictures"],
                "uneven": is_judged and max(abs(each / share - 1) for each in done["tenths"]) > even}
    return [f"{name}: {problem}" for problem, holds in problems.items() if holds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--life", choices=LIVES, action="append", help="only this one; may be repeated")
    parser.add_argument("--fps", type=float, default=15, help="frames per second")
    parser.add_argument("--as-film", action="store_true", help="as fast as possible; some frames are then missed")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360))
    parser.add_argument("--even", type=float, default=EVEN, help="how far a tenth may be from its share")
    parser.add_argument("--state", type=Path, default=Path(".campaign/collect.json"))
    args = parser.parse_args()
    lives: dict[str, Any] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        why = missing()
        network = None
        if not why:
            checked(unshare(CLONE_NEWNS))
            mount(b"none", "/", None, MS_REC | MS_PRIVATE)
            network = stack.enter_context(ClosedNetwork())
        for name in args.life or LIVES:
            if name not in lives:
                lives[name] = run_life(LIVES[name], tuple(args.size), args.fps, network, as_film=args.as_film)
                args.state.write_text(json.dumps(lives))
    problems = [problem for name, done in lives.items() for problem in wrong(name, done, even=args.even)]
    left_out = [f"packets: {why}"] if why else []
    left_out += [f"{name}: evenness, since {missed_share(done):.0%} of the frames were missed"
                 for name, done in lives.items() if missed_share(done) > MISSED_MAX]
    print(json.dumps({"campaign": "collect", "lives": lives, "wrong": problems, "left_out": left_out}))
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
