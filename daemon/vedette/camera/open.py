"""Opens the camera that the configuration names.

Invariants: this module imports neither numpy, OpenCV nor pydantic, so the child starts before the daemon's own imports.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from vedette._lib.child import Child
from vedette._lib.clock import SystemClock
from vedette.camera.remote import RemoteCamera
from vedette.camera.session import KILL_WITHIN_S
from vedette.camera.settings import CHILD_MODULE, ENVIRON, CaptureSettings
from vedette.camera.street.options import parse_synthetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vedette._lib.worker import Worker
    from vedette.config.models import CameraConfig
    from vedette.ports import Clock


def open_camera(camera: CameraConfig, clock: Clock | None = None, *,
                on_end: Callable[[Worker], None] | None = None, child: Child | None = None) -> RemoteCamera:
    """Start the capture child for this configuration. Call `start()` on the result to read its messages.

    `on_end` is called when the capture thread ends, as for any Worker. `child` is used in place of a new one. Raises:
    OSError when no process can be started; SourceInvalid as `capture_settings`.
    """
    return RemoteCamera(capture_settings(camera), clock or SystemClock(), on_end=on_end, child=child)


@contextmanager
def capture_child() -> Iterator[Child]:
    """Start a capture child for `open_camera` before the configuration is known, and end it afterwards.

    Its imports take as long as those of the daemon, so they run at the same time. Raises: OSError.
    """
    child = Child(CHILD_MODULE, ENVIRON)
    try:
        yield child
    finally:
        child.close()
        child.kill(KILL_WITHIN_S)


def capture_settings(camera: CameraConfig) -> CaptureSettings:
    """Return the settings of the child. It does not need the region of interest and the age limit.

    Raises: SourceInvalid for options that the synthetic camera does not know.
    """
    settings = CaptureSettings(
        source=camera.source, width=camera.width, height=camera.height, fps=camera.fps, rotate=camera.rotate,
        masks=camera.masks, frozen_after_s=camera.frozen_after_s, every_frame=camera.every_frame, loop=camera.loop,
        credentials_file=str(camera.credentials_file) if camera.credentials_file else None,
        decode=camera.decode, focus=camera.focus, controls=camera.controls,
        gate_every_s=camera.gate.every_s if camera.gate.enabled else None)
    if settings.kind == "synthetic":
        parse_synthetic(settings.source)      # a wrong option can still end the command here
        return settings
    if settings.kind == "path":
        return settings
    # A camera cannot wait. Only files and drawn frames can give every frame. Each frame of a device is a keyframe.
    decode = camera.decode if settings.kind == "stream" else "all"
    return replace(settings, every_frame=False, loop=False, decode=decode)
