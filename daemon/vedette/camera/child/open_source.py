"""Opens the source that the settings name.

Invariants: `auto` prefers the board's own camera, then the first V4L2 device that opens, stable names first. Finding
none is not final, since a device may be plugged in later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vedette.camera.settings import DEVICE_PATTERNS
from vedette.errors import SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    from vedette.camera.child.source import Source
    from vedette.camera.settings import CaptureSettings


def open_source(settings: CaptureSettings) -> Source:
    """Open the source that the settings name. Raises: SourceMissing, SourceInvalid."""
    try:
        return _open(settings)
    except OSError as error:      # a folder without access, or a name too long
        raise SourceMissing(f"{shown(settings.source)}: {error.strerror}") from error


def _open(settings: CaptureSettings) -> Source:
    kind = settings.kind
    if kind == "auto":
        return _open_auto(settings)
    if kind == "picamera2":
        from vedette.camera.child.picamera import PiCamera
        return PiCamera(settings)
    if kind == "synthetic":
        from vedette.camera.child.synthetic import Synthetic
        return Synthetic(settings)
    if kind == "path" and Path(settings.source.removeprefix("file://")).is_dir():
        from vedette.camera.child.folder import Folder
        return Folder(settings)
    from vedette.camera.child import opencv
    if kind == "device":
        return opencv.Device(settings, settings.source)
    return opencv.Stream(settings) if kind == "stream" else opencv.Film(settings)


def _open_auto(settings: CaptureSettings) -> Source:
    from vedette.camera.child import opencv, picamera
    if picamera.sees_camera():
        return picamera.PiCamera(settings)
    refusals = []
    for path in _devices(Path("/dev")):
        try:
            return opencv.Device(settings, path)
        except SourceMissing as refusal:
            refusals.append(str(refusal))
    raise SourceMissing("no camera found" + "".join(f"; {refusal}" for refusal in refusals[:3]))


def _devices(dev: Path) -> list[str]:
    return [str(path) for pattern in DEVICE_PATTERNS for path in sorted(dev.glob(pattern))]
