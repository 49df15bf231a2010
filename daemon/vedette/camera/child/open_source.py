"""Opens the source that the settings name.

To add a kind of camera:
1. Write a module in this folder with a class that has the members of `source.Source`. It raises SourceMissing where
   the camera may come back, and SourceInvalid where it never will.
2. Add the kind to `Kind` in `camera/settings.py`, and its form to `CaptureSettings.kind`, above the line that takes
   every other `://` for a stream.
   `may_return` says whether a source without frames is opened again.
   `capture_settings` in `camera/open.py` says whether it may wait for the detector (`every_frame`).
3. Open it in `_open` below. mypy names the kind that is forgotten there.
4. A new scheme (`xyz://`) goes into `SCHEMES` in `config/addresses.py`, or the configuration refuses it.
5. Say it to people: the description of `camera.source` in `config/models.py`, docs/cameras.md, and the check `camera`
   of `vedette doctor` in `cli/checks/machine.py`. Then run `make docs`.
6. The units in `systemd/` allow only some devices and address families (`DeviceAllow`, `RestrictAddressFamilies`).
   A library becomes an extra in pyproject.toml.
7. Test it with a real source on this machine, or with a strict fake of its library (`tests/camera/child/`).

Invariants: `auto` prefers the board's own camera, then the first V4L2 device that opens, stable names first. Finding
none is not final, since a device may be plugged in later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    """Import what this kind needs, and nothing else: the child is small."""
    match settings.kind:
        case "auto":
            return _open_auto(settings)
        case "picamera2":
            from vedette.camera.child.picamera import PiCamera
            return PiCamera(settings)
        case "synthetic":
            from vedette.camera.child.synthetic import Synthetic
            return Synthetic(settings)
        case "device":
            from vedette.camera.child.opencv import Device
            return Device(settings, settings.source)
        case "stream":
            return _open_stream(settings)
        case "path":
            return _open_path(settings)


def _open_stream(settings: CaptureSettings) -> Source:
    if settings.source.lower().startswith(("http://", "https://")):
        from vedette.camera.child.http_source import HttpSource
        return HttpSource(settings)
    from vedette.camera.child.stream import Stream
    return Stream(settings, settings.open_limit_s)


def _open_path(settings: CaptureSettings) -> Source:
    if Path(settings.source.removeprefix("file://")).is_dir():
        from vedette.camera.child.folder import Folder
        return Folder(settings)
    from vedette.camera.child.film import Film
    return Film(settings)


def _open_auto(settings: CaptureSettings) -> Source:
    from vedette.camera import v4l2
    from vedette.camera.child import opencv, picamera
    if picamera.sees_camera():
        return picamera.PiCamera(settings)
    refusals = []
    for camera in v4l2.cameras():
        try:
            return opencv.Device(settings, camera.path)
        except SourceMissing as refusal:
            refusals.append(str(refusal))
    raise SourceMissing("no camera found" + "".join(f"; {refusal}" for refusal in refusals[:3]))
