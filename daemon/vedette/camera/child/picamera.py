"""The Raspberry Pi camera, through picamera2. No other file imports picamera2.

Invariants:
- Every wait has a time-out. libcamera's own time-out only writes a log line, and the call hangs (picamera2 #1295).
- A request is released before the frame is used, since a held request starves the camera.
- The lores stream is YUV420: a Pi 4 or older gives nothing else there. Its rows are padded to the stride.
- After a failure the owner replaces the process. `stop()` may block for ever once the sensor is gone (#1065), and a
  second Picamera2 leaks contiguous memory (#887). So a stalled camera is never reopened in this process.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import cv2

from vedette.camera.child.source import ReadStalled, boottime_to_monotonic_ns
from vedette.errors import SourceMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings

READ_MARGIN_S = 0.5
BUFFERS = 4


def sees_camera() -> bool:
    """Whether picamera2 can be imported and the board has a camera. USB cameras do not count: V4L2 opens them."""
    if importlib.util.find_spec("picamera2") is None:
        return False
    return bool(_board_cameras(_import()))


class PiCamera:
    """The first camera of the board. It runs while this object is open."""

    live = True
    reusable = False

    def __init__(self, settings: CaptureSettings) -> None:
        module = _import()
        cameras = _board_cameras(module)
        if not cameras:
            raise SourceMissing("picamera2 sees no camera: check the cable and `rpicam-hello --list-cameras`")
        self.fps: float | None = settings.fps
        self._timeout_s = settings.open_limit_s      # for the first frame
        self._stall_s = settings.stall_s - READ_MARGIN_S
        self._mapped = module.MappedArray
        self._request: Any = None
        self._scratch: NDArray[np.uint8] | None = None
        try:
            self._camera = module.Picamera2(cameras[0]["Num"])
            self._width, self._height = self._start(settings)
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceMissing(f"picamera2: {error}") from error

    def __repr__(self) -> str:
        return f"<PiCamera {self._width}x{self._height}>"

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        self._release()
        job = self._camera.capture_request(wait=False)
        try:
            self._request = self._camera.wait(job, timeout=self._timeout_s)
        except (TimeoutError, CancelledError) as error:
            self._camera.cancel_all_and_flush()
            raise ReadStalled(f"picamera2: no frame for {self._timeout_s:.1f} s") from error
        self._timeout_s = self._stall_s
        return boottime_to_monotonic_ns(self._request.get_metadata()["SensorTimestamp"])

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame; see Source. The conversion is also the copy that frees the camera's buffer."""
        try:
            with self._mapped(self._request, "lores") as mapped:
                return self._converted(mapped.array, into)
        finally:
            self._release()

    def close(self) -> None:
        """Stop the camera and close it. This may hang; then the owner kills the process."""
        self._release()
        self._camera.stop()
        self._camera.close()

    def _start(self, settings: CaptureSettings) -> tuple[int, int]:
        size = (settings.width & ~1, settings.height & ~1)     # YUV420 needs even sides
        configuration = self._camera.create_video_configuration(
            main={"size": size, "format": "YUV420"}, lores={"size": size, "format": "YUV420"},
            buffer_count=BUFFERS, queue=False, controls={"FrameRate": settings.fps})
        self._camera.configure(configuration)
        self._camera.start()
        width, height = self._camera.camera_configuration()["lores"]["size"]    # libcamera aligns it
        return width, height

    def _converted(self, yuv: NDArray[np.uint8], into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return planar YUV of (height * 3 / 2, stride) as BGR without the padding."""
        stride = yuv.shape[1]
        fits = into is not None and into.shape == (self._height, self._width, 3)
        if fits and stride == self._width:
            return cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_I420, dst=into)  # type: ignore[return-value] # loose stubs
        self._scratch = cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_I420, dst=self._scratch)  # type: ignore[assignment] # same
        assert self._scratch is not None  # noqa: S101 - for the type checker
        picture = self._scratch[:self._height, :self._width]
        if into is None or not fits:
            return picture
        into[:] = picture
        return into

    def _release(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()


def _import() -> Any:
    try:
        return importlib.import_module("picamera2")
    except (ImportError, ValueError, OSError) as error:    # ValueError: "numpy.dtype size changed"
        raise SourceMissing(f"picamera2 cannot be imported: {error}; see `vedette doctor`") from error


def _board_cameras(module: Any) -> list[dict[str, Any]]:
    return [camera for camera in module.Picamera2.global_camera_info() if "usb" not in str(camera.get("Id")).lower()]
