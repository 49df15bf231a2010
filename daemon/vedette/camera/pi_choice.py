"""Which camera of picamera2's list a source names: `picamera2`, `picamera2:1`, `picamera2:imx708`, or by its place.

Invariants: pure. A number is picamera2's own: the place in its sorted list, CSI before USB. A USB camera is never
chosen: V4L2 opens it, and its number in the list changes when a cable comes loose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vedette.errors import SourceMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Info = dict[str, Any]
"""One camera of `Picamera2.global_camera_info()`: Model, Location, Rotation, Id, Num."""


def on_board(camera: Mapping[str, Any]) -> bool:
    """Whether the camera is on the board's own connectors."""
    return "/usb" not in str(camera["Id"])


def choose(cameras: Sequence[Info], source: str) -> int:
    """Return the number that `Picamera2()` takes for this source.

    Raises: SourceMissing, with the list of what is there, when no camera or more than one fits.
    """
    wanted = source.partition(":")[2]
    own = [number for number, camera in enumerate(cameras) if on_board(camera)]
    if not own:
        raise SourceMissing("picamera2 sees no camera on the board: check the cable and `rpicam-hello --list-cameras`; "
                            f"there are: {described(cameras)}")
    if not wanted:
        return own[0]
    if wanted.isdecimal():
        fits = [number for number in own if number == int(wanted)]
    else:
        fits = next(filter(None, (
            [number for number in own if wanted.lower() == str(cameras[number]["Model"]).lower()],
            [number for number in own if wanted.lower() in str(cameras[number]["Id"]).lower()],
            [number for number in own if wanted.lower() in str(cameras[number]["Model"]).lower()])), [])
    if len(fits) != 1:
        problem = "more than one camera fits" if fits else "no such camera on the board"
        raise SourceMissing(f"{source}: {problem}; there are: {described(cameras)}")
    return fits[0]


def source_of(cameras: Sequence[Info], number: int) -> str:
    """Return the shortest source that names this camera of the board and no other one."""
    for name in (str(cameras[number]["Model"]), str(cameras[number]["Id"])):
        source = f"picamera2:{name}"
        try:
            if choose(cameras, source) == number:
                return source
        except SourceMissing:
            continue
    return f"picamera2:{number}"


def described(cameras: Sequence[Mapping[str, Any]]) -> str:
    """Return the list for people: number, name and place of each camera."""
    return ", ".join(f"{number}: {camera['Model']} at {camera['Id']}{'' if on_board(camera) else ' (USB)'}"
                     for number, camera in enumerate(cameras)) or "none"
