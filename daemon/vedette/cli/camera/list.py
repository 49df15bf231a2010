"""`vedette camera list`: lists the cameras of this machine, and what to write into the configuration for each.

Invariants: nothing is changed, and a camera that another process uses is listed as well; picamera2 is asked in a child
process, because native libraries may crash; with `--json` standard output is one JSON object, also without any camera.
"""

from __future__ import annotations

import fcntl
import json
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.camera import v4l2
from vedette.cli.arguments import between, file_path
from vedette.cli.camera.shapes import CameraList, CameraMode, ListedCamera
from vedette.cli.checks.child import ChildFailed, in_child
from vedette.errors import SourceError, SourceMissing, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXAMPLE = """examples:
  vedette camera list
  vedette camera list --snapshots pictures

exit codes:
   0  The cameras are listed.
  64  A snapshot cannot be written.
  69  This machine has no camera."""

NONE_FOUND = ("no camera found. Connect one. For a camera on the board, check the cable and run `rpicam-hello "
              "--list-cameras`. For a network camera, set camera.source to its rtsp://… address. Without a camera, "
              "set it to synthetic.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--snapshots", type=file_path, metavar="DIR",
                        help="save one frame of each camera in this folder; a camera in use gives none")
    parser.add_argument("--wait", type=between(float, 0, 3600), default=10.0, metavar="S",
                        help="seconds to wait for each frame (10)")


def run(args: argparse.Namespace) -> int:
    """List the cameras. Raises: SourceMissing when there is none; UsageError when a snapshot cannot be written."""
    found = list_cameras()
    if args.snapshots:
        found = found.model_copy(update={"cameras": [_with_snapshot(camera, args.snapshots, args.wait)
                                                     for camera in found.cameras]})
    if args.json:
        print(found.model_dump_json(by_alias=True))
    else:
        print("\n".join(_lines(found)))
    if not found.cameras:
        raise SourceMissing(NONE_FOUND)
    return 0


def list_cameras(dev: Path = Path("/dev"), ioctl: v4l2.Ioctl = fcntl.ioctl) -> CameraList:
    """Return the cameras of the board through picamera2, then those of V4L2."""
    try:
        board = picamera2_report(modes=True)
    except ChildFailed as failure:
        board = {"version": f"not usable: {failure}", "cameras": []}
    own = [_listed("picamera2", camera["name"], camera["place"], camera["source"], _board_modes(camera),
                   camera.get("problem")) for camera in board["cameras"] if not camera["usb"]]
    others = [_listed("v4l2", camera.name, camera.place, camera.path,
                      [CameraMode(format=mode.format, width=mode.width, height=mode.height, fps=list(mode.fps),
                                  crop=None) for mode in camera.modes], camera.problem)
              for camera in v4l2.cameras(dev, ioctl)]
    return CameraList(cameras=own + others, picamera2=board["version"])


def picamera2_report(*, modes: bool) -> dict[str, Any]:
    """Return what `camera.child.picamera.report` returns, asked in a child. Raises: ChildFailed."""
    printed = in_child(f"import picamera2, json; from vedette.camera.child.picamera import report; "
                       f"print(json.dumps(report(modes={modes})))")
    answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return answer


def _listed(driver: Any, name: str, place: str, source: str, modes: list[CameraMode],
            problem: str | None) -> ListedCamera:
    return ListedCamera(driver=driver, name=name, place=place, source=source, modes=modes, problem=problem,
                        config=f"camera: {{source: {json.dumps(source)}}}", snapshot=None)


def _board_modes(camera: dict[str, Any]) -> list[CameraMode]:
    return [CameraMode(format=mode["format"], width=mode["width"], height=mode["height"], fps=[mode["fps"]],
                       crop=mode["crop"]) for mode in camera.get("modes", ())]


def _with_snapshot(camera: ListedCamera, folder: Path, wait_s: float) -> ListedCamera:
    """Save one frame of the camera. Raises: UsageError when the file cannot be written."""
    from vedette._lib.durable import replace_file
    from vedette.cli.snapshot import frame_of
    from vedette.config.models import CameraConfig
    path = folder / (re.sub(r"[^A-Za-z0-9._-]+", "-", camera.source).strip("-") + ".jpg")
    try:
        jpeg = frame_of(CameraConfig(source=camera.source), wait_s)
    except SourceError as failure:
        return camera.model_copy(update={"problem": str(failure)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, jpeg)
    except OSError as failure:
        raise UsageError(f"{path}: cannot be written: {failure.strerror}") from failure
    return camera.model_copy(update={"snapshot": str(path)})


def _lines(found: CameraList) -> Iterator[str]:
    for camera in found.cameras:
        yield f"{camera.name}{f'  at {camera.place}' if camera.place else ''}"
        yield f"  {camera.config}"
        for format_name, modes in groupby(camera.modes, lambda mode: mode.format):
            yield f"  {format_name:14} {', '.join(map(_size, modes))}"
        if camera.problem:
            yield f"  problem: {camera.problem}"
        if camera.snapshot:
            yield f"  snapshot: {camera.snapshot}"
    yield f"picamera2: {found.picamera2 or 'version unknown'}"


def _size(mode: CameraMode) -> str:
    rates = f" at {' '.join(f'{rate:g}' for rate in mode.fps)} fps" if mode.fps else ""
    return f"{mode.width} x {mode.height}{rates}{' (a part)' if mode.crop and any(mode.crop[:2]) else ''}"
