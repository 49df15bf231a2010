"""Campaign `masks`: random privacy masks, and every place that pixels of the camera reach.

    .venv/bin/python tests/campaign/masks.py --sets 1000 --state .campaign/masks.json

A set is one to four polygons: any, thin, at the edges of the frame, twice the same, or crossing themselves. A real
capture child shows a light picture, rotated, or scaled down, or neither. Six places are looked at: the shared memory of
the child, the snapshot over MQTT (each tenth set also by the command), the request to the cloud with masks of its own,
the view that drift learns, the frame tap, and the golden frames that `vedette model pack` makes of the snapshots.

The reference asks points of each pixel, in whole numbers: a pixel with a point inside a polygon must be black. In a
JPEG, and in what is made of one, this holds from 17 pixels inside the masks on. Drift keeps numbers, so two pictures
that differ below the masks only must give the same view. Resumable by set. One JSON line; 1 when a pixel is open.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.daemon.cameras import make_settings, running
from tests.support.daemon.still_source import Still
from tests.support.fakes import FakePublisher, make_result
from tests.support.network.clouds import Server, client, serving_answers
from tests.support.network.detection_server import model as lamps_model
from tests.support.present import present
from tests.support.truth.winding import touched_pixels
from vedette.camera.child.shape import Shaper
from vedette.camera.child.watch import SAMPLE_NS, PictureWatch
from vedette.cli.snapshot import frame_of
from vedette.commands import CommandDesk
from vedette.config.models import CameraConfig
from vedette.tflite.file import read_model
from vedette.types import Command, Frame, View
from vedette.validate import golden
from vedette.validate.frame_tap import FrameTap

Polygon = tuple[tuple[int, int], ...]
"""Corners in thousandths of the frame."""
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
LIGHT = 220
BLOCK = 17          # JPEG spreads a value over blocks of 16 pixels
NEARLY_BLACK = 6
BATCH = 20
WAIT_S = 60.0
VIEWS = 12
PLACES = ("shared memory", "snapshot", "cloud", "drift", "frame tap", "golden frames")


def polygon_of(draw: random.Random) -> Polygon:
    """Draw one polygon."""
    kind = draw.choice(("any", "any", "edges", "thin", "large"))
    if kind == "thin":
        x, y, wide = draw.randint(0, 1000), draw.randint(0, 1000), draw.randint(0, 4)
        return ((x, y), (draw.randint(0, 1000), draw.randint(0, 1000)), (min(x + wide, 1000), min(y + wide, 1000)))
    if kind == "large":
        left, top = draw.randint(0, 400), draw.randint(0, 400)
        return ((left, top), (draw.randint(600, 1000), top), (draw.randint(600, 1000), 1000), (left, 900))
    side = [0, 1000, 0, 1000, 500] if kind == "edges" else range(1001)
    return tuple((draw.choice(side), draw.choice(side)) for _ in range(draw.randint(3, 9)))


def has_inside(polygon: Polygon) -> bool:
    """Whether its corners are not all on one line."""
    (ax, ay), *others = polygon
    return any((bx - ax) * (cy - ay) != (cx - ax) * (by - ay) for bx, by in others for cx, cy in others)


def polygons_of(draw: random.Random) -> list[Polygon]:
    """Draw one to four polygons with an inside; sometimes one comes twice."""
    wanted, drawn = draw.randint(1, 4), list[Polygon]()
    while len(drawn) < wanted:
        polygon = polygon_of(draw)
        drawn += [polygon] if has_inside(polygon) else []
    return drawn + drawn[:1] if draw.random() < 0.2 else drawn


def in_unit(polygons: list[Polygon]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the polygons as the configuration has them."""
    return tuple(tuple((x / 1000, y / 1000) for x, y in polygon) for polygon in polygons)


def deep(mask: Mask) -> Mask:
    """Return the pixels of a mask that lie at least BLOCK pixels inside it; beyond the frame all counts as inside."""
    size = 2 * BLOCK + 1
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=1) > 0)


class Set:
    """One set of masks, its camera, and what was found open."""

    def __init__(self, number: int, folder: Path) -> None:
        draw = random.Random(number)
        self.number = number
        self._masks, self._cloud_masks = polygons_of(draw), polygons_of(draw)
        self._size = draw.randint(64, 224), draw.randint(48, 160)
        self._rotate = draw.choice((0, 90, 180, 270))
        limit = self._size if draw.random() < 0.5 else (draw.randint(40, 200), draw.randint(40, 150))
        self._roi = draw.choice((None, (0.1, 0.2, 0.9, 0.8)))
        self._folder = folder / f"set{number}"
        self._folder.mkdir()
        light = np.full((self._size[1], self._size[0], 3), LIGHT, np.uint8)
        cv2.imwrite(str(self._folder / "light.png"), light)
        self._settings = make_settings(self._folder, width=limit[0], height=limit[1], rotate=self._rotate, loop=True,
                                       masks=in_unit(self._masks))
        self.pixels = Counter[str]()
        self.open = Counter[str]()
        self.hidden = np.zeros((1, 1), np.bool_)

    def run(self, server: Server, cloud_folder: Path) -> Path:
        """Look at all places but the golden frames. Returns the snapshot's file."""
        with running(self._settings) as camera:
            frame = self._first(camera.take)
            self.hidden = touched_pixels(self._masks, frame.width, frame.height)
            shown = np.asarray(frame.pixels)
            self.exactly("shared memory", shown)
            self._frame_tap(frame)
            self._cloud(frame, server, cloud_folder)
            camera.release(frame)
            snapshot = self._snapshot(camera)
        if self.number % 10 == 0:
            config = CameraConfig.model_validate({"source": str(self._folder), "width": self._settings.width,
                                                  "height": self._settings.height, "rotate": self._rotate, "loop": True,
                                                  "masks": in_unit(self._masks)})
            self.nearly("snapshot", decoded(frame_of(config, WAIT_S)), self.hidden)
        self._drift()
        path = self._folder.parent / f"snapshot{self.number}.jpg"
        path.write_bytes(snapshot)
        return path

    def exactly(self, place: str, picture: Picture) -> None:
        """Count the hidden pixels, and those that are not black."""
        self.pixels[place] += int(self.hidden.sum())
        self.open[place] += int((picture.max(axis=2) > 0)[self.hidden].sum())

    def nearly(self, place: str, picture: Picture, hidden: Mask) -> None:
        """Count the pixels deep in a mask, and those that are not nearly black. The picture may be smaller."""
        inside = cv2.resize(deep(hidden).astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        self.pixels[place] += int(inside.sum())
        self.open[place] += int((picture.max(axis=2) > NEARLY_BLACK)[inside].sum())

    def _first(self, take: Callable[[float], Frame | None]) -> Frame:
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            if frame := take(1):
                return frame
        raise TimeoutError(f"set {self.number}: no frame")

    def _frame_tap(self, frame: Frame) -> None:
        tap = FrameTap()
        tap.request()
        tap(make_result(frame, ()))
        tapped = present(tap.wait(0))
        copy = np.frombuffer(bytes(tapped.memory.view(0)), np.uint8).reshape(tapped.height, tapped.width, 3)
        self.exactly("frame tap", copy)
        tap.close()

    def _cloud(self, frame: Frame, server: Server, folder: Path) -> None:
        server.asked.clear()
        client(folder, server.url, roi=self._roi, masks=in_unit(self._cloud_masks)).detect(frame)
        sent = decoded(server.asked[-1].body)
        hidden = self.hidden | touched_pixels(self._cloud_masks, frame.width, frame.height)
        xmin, ymin, xmax, ymax = self._roi or (0, 0, 1, 1)
        left, top = (round(share * side) for share, side in ((xmin, frame.width), (ymin, frame.height)))
        right, bottom = (round(share * side) for share, side in ((xmax, frame.width), (ymax, frame.height)))
        inside = np.zeros_like(hidden)
        inside[top:bottom, left:right] = deep(hidden)[top:bottom, left:right]
        part = inside[top:bottom, left:right][:sent.shape[0], :sent.shape[1]]
        self.pixels["cloud"] += int(part.sum())
        self.open["cloud"] += int((sent.max(axis=2) > NEARLY_BLACK)[:part.shape[0], :part.shape[1]][part].sum())

    def _snapshot(self, camera: object) -> bytes:
        publisher = FakePublisher()
        actions: list[Callable[[], None]] = []
        parts = cast("Any", SimpleNamespace(call=actions.append))
        desk = CommandDesk(cast("Any", camera), publisher, updates=parts, drift=parts, results=parts, main_thread=parts,
                           switch=parts, configuration=parts)
        desk.accept(Command("snapshot", {}, "t", "reply"))
        actions.pop()()
        jpeg = publisher.messages[0].payload
        assert isinstance(jpeg, bytes)
        self.nearly("snapshot", decoded(jpeg), self.hidden)
        return jpeg

    def _drift(self) -> None:
        """Show two films, which differ below the masks only, to the child's parts, without any scaling."""
        width, height = self._size
        turns = self._rotate // 90
        hidden = touched_pixels(self._masks, *((height, width) if turns % 2 else (width, height)))
        below: Mask = np.rot90(hidden, turns)
        settings = make_settings("x", width=max(self._size), height=max(self._size), rotate=self._rotate,
                                 masks=in_unit(self._masks))
        views = [self._views(Shaper(settings), below, seed) for seed in (1, 2)]
        self.pixels["drift"] += int(below.sum())
        self.open["drift"] += int(below.sum()) if views[0] != views[1] else 0

    def _views(self, shaper: Shaper, below: Mask, seed: int) -> list[View | None]:
        common, secret = np.random.default_rng(0), np.random.default_rng(seed)
        watch, views = PictureWatch(60.0), list[View | None]()
        for number in range(VIEWS):
            picture = common.integers(0, 256, (*below.shape, 3)).astype(np.uint8)
            picture[below] = secret.integers(0, 256, (int(below.sum()), 3))
            slot = np.zeros(picture.nbytes, np.uint8)
            watch.check(shaper.read(Still(picture), slot), None, number * SAMPLE_NS)
            views.append(watch.take_view())
        assert any(views)
        return views


def decoded(content: bytes) -> Picture:
    """Return the pixels of a picture's file."""
    return np.asarray(present(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)), np.uint8)


def run_batch(numbers: range, server: Server) -> dict[str, Any]:
    """Run some sets, and pack their snapshots as golden frames of one bundle. Returns counts by place."""
    pixels, found, wrong = Counter[str](), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = [Set(number, folder) for number in numbers]
        snapshots = [each.run(server, folder) for each in sets]
        bundle = folder / "golden.tflite"
        subprocess.run([sys.executable, "-m", "vedette", "model", "pack", lamps_model(folder), "--golden", *snapshots,
                        "-o", bundle, "--version", "1"], check=True, capture_output=True)
        frames = present(golden.read(read_model(bundle))).frames
        for each, frame in zip(sets, frames, strict=True):
            each.nearly("golden frames", decoded(frame.png), each.hidden)
            pixels += each.pixels
            found += each.open
            wrong += [each.number] if each.open.total() else []
    return {"sets": len(numbers), "pixels": pixels, "open": found, "wrong": wrong}


def main() -> int:
    """Run the sets that are left; returns 1 when a pixel was open."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first set")
    parser.add_argument("--state", type=Path, default=Path(".campaign/masks.json"))
    args = parser.parse_args()
    batches: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    with serving_answers() as server:
        while (done := sum(each["sets"] for each in batches)) < args.sets:
            first = args.first + done
            batches.append(run_batch(range(first, first + min(BATCH, args.sets - done)), server))
            args.state.write_text(json.dumps(batches))
            print(batches[-1], file=sys.stderr, flush=True)
    figures = {place: {"pixels": sum(each["pixels"].get(place, 0) for each in batches),
                       "open": sum(each["open"].get(place, 0) for each in batches)} for place in PLACES}
    wrong = [number for each in batches for number in each["wrong"]]
    print(json.dumps({"campaign": "masks", "sets": sum(each["sets"] for each in batches), "wrong": wrong,
                      "places": figures}))
    return 1 if wrong or not all(figure["pixels"] for figure in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
