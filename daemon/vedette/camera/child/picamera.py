"""The Raspberry Pi camera, through picamera2. No other file imports picamera2 or libcamera.

Invariants:
- Every wait has a time-out. libcamera's own time-out only writes a log line, and the call hangs (picamera2 #1295).
- A request is released before the frame is used, since a held request starves the camera.
- There is one stream, in the colour space of OpenCV's conversion. Its rows are padded to the stride.
- The mode of the sensor sees the whole field, where one does. Left alone, picamera2 prefers a mode that sees a part.
- A camera that fails before its first frame is closed, so that it can be opened again. After a later failure the owner
  replaces the process: `stop()` may block for ever once the sensor is gone (#1065).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import cv2

from vedette.camera.child.pi_controls import check_names, checked, flips, with_focus
from vedette.camera.child.source import ReadStalled, boottime_to_monotonic_ns
from vedette.camera.pi_choice import choose, on_board, source_of
from vedette.errors import SourceMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings

READ_MARGIN_S = 0.5
BUFFERS = 4
WHOLE = 0.95
"""A mode that sees this share of the sensor's width and height sees the whole field."""
TUNING_VARIABLE = "LIBCAMERA_RPI_TUNING_FILE"


def sees_camera() -> bool:
    """Whether picamera2 can be imported and the board has a camera. USB cameras do not count: V4L2 opens them."""
    if importlib.util.find_spec("picamera2") is None:
        return False
    return any(map(on_board, _import("picamera2").Picamera2.global_camera_info()))


class PiCamera:
    """A camera of the board. It runs while this object is open."""

    live = True
    reusable = False

    def __init__(self, settings: CaptureSettings) -> None:
        module, libcamera = _import("picamera2"), _import("libcamera")
        self._timeout_s = settings.open_limit_s      # for the first frame
        self._stall_s = settings.stall_s - READ_MARGIN_S
        self._mapped = module.MappedArray
        self._request: Any = None
        self._scratch: NDArray[np.uint8] | None = None
        number = choose(module.Picamera2.global_camera_info(), settings.source)
        with _failures_named():
            # Without this argument picamera2 drops the variable that names the tuning, such as that of a NoIR camera.
            self._camera = module.Picamera2(number, tuning=os.environ.get(TUNING_VARIABLE))
        with ExitStack() as on_failure, _failures_named():
            on_failure.callback(self._camera.close)
            self._start(settings, libcamera)
            on_failure.pop_all()
        self._width, self._height = self._camera.camera_configuration()["main"]["size"]
        shortest_us = self._camera.camera_controls["FrameDurationLimits"][0]
        self.fps: float | None = min(settings.fps, 1e6 / shortest_us)

    def __repr__(self) -> str:
        return f"<PiCamera {self._width}x{self._height}>"

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        self._release()
        job = self._camera.capture_request(wait=False)
        try:
            self._request = self._camera.wait(job, timeout=self._timeout_s)
        except (TimeoutError, CancelledError) as error:
            self._camera.cancel_all_and_flush()     # stop() is a job too, and would wait behind this one
            raise ReadStalled(f"picamera2: no frame for {self._timeout_s:.1f} s") from error
        self._timeout_s = self._stall_s
        return boottime_to_monotonic_ns(self._request.get_metadata()["SensorTimestamp"])

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame; see Source. The conversion is also the copy that frees the camera's buffer."""
        try:
            with self._mapped(self._request, "main") as mapped:
                return self._converted(mapped.array, into)
        finally:
            self._release()

    def close(self) -> None:
        """Stop the camera and close it. This may hang; then the owner kills the process."""
        self._release()
        self._camera.stop()
        self._camera.close()

    def _start(self, settings: CaptureSettings, libcamera: Any) -> None:
        has = self._camera.camera_controls
        check_names(settings.controls, has)
        controls = with_focus(settings.controls, settings.focus, has)
        transform = libcamera.Transform(**flips(settings.controls))
        self._configure_whole_field(settings, {
            "transform": transform,
            "colour_space": libcamera.ColorSpace.Smpte170m(),   # BT.601, as OpenCV converts
            "raw": None,
            "buffer_count": BUFFERS,
            "queue": False,     # no frame from before the question
            "controls": {"FrameRate": settings.fps},
        })
        # The limits of some controls are those of the mode. Configuring forgets what was set before.
        self._camera.set_controls(checked(controls, self._camera.camera_controls, _value_names(libcamera.controls)))
        self._camera.start()

    def _configure_whole_field(self, settings: CaptureSettings, options: Mapping[str, Any]) -> None:
        """Configure the fastest mode of the sensor that sees the whole field and has the pixels, if there is one.

        picamera2 takes the mode nearest to the size that is asked for. Sensors halve their size to see the same.
        """
        size = (settings.width & ~1, settings.height & ~1)     # YUV420 needs even sides
        sensor_size = self._camera.sensor_resolution
        seen: dict[tuple[int, int], float] = {}
        for asked in _halves(sensor_size, size):
            seen[asked] = self._configure(size, asked, options)
            if seen[asked] >= WHOLE:
                return
        self._configure(size, max(seen, key=lambda each: seen[each]), options)

    def _configure(self, size: tuple[int, int], asked: tuple[int, int], options: Mapping[str, Any]) -> float:
        """Configure a mode. Return the share of the sensor's width or height that it sees, whichever is smaller."""
        self._camera.configure(self._camera.create_video_configuration(
            main={"size": size, "format": "YUV420"}, sensor={"output_size": asked}, **options))
        whole = self._camera.camera_properties.get("PixelArraySize")
        crop = self._camera.camera_controls.get("ScalerCrop")
        if not whole or not crop:
            return 1.0
        _, _, width, height = crop[1]       # the largest one
        return float(min(width / whole[0], height / whole[1]))

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


def report(*, modes: bool) -> dict[str, Any]:
    """Return the version of picamera2, and its list of cameras, for `vedette doctor` and `vedette camera list`.

    Each camera has `name`, `place`, `usb` and `source`. With `modes` each one on the board is opened for a moment: it
    has `modes`, or a `problem`. Raises: SourceMissing when picamera2 cannot be imported.
    """
    module = _import("picamera2")
    infos = module.Picamera2.global_camera_info()
    cameras: list[dict[str, Any]] = [
        {"name": info["Model"], "place": info["Id"], "usb": not on_board(info),
         "source": source_of(infos, number) if on_board(info) else None} for number, info in enumerate(infos)]
    for number, camera in enumerate(cameras):
        if modes and not camera["usb"]:
            try:
                camera["modes"] = _modes(module, number)
            except SourceMissing as failure:
                camera["problem"] = str(failure)
    try:
        version = importlib.metadata.version("picamera2")
    except importlib.metadata.PackageNotFoundError:
        version = None
    return {"version": version, "cameras": cameras}


def _modes(module: Any, number: int) -> list[dict[str, Any]]:
    with _failures_named():
        camera = module.Picamera2(number)
        try:
            return [{"format": str(mode["format"]), "width": mode["size"][0], "height": mode["size"][1],
                     "fps": mode["fps"], "crop": list(mode["crop_limits"])}
                    for mode in camera.sensor_modes if "size" in mode]
        finally:
            camera.close()


def _halves(whole: tuple[int, int], needed: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the size of the sensor, halved as often as it holds the needed size, smallest first."""
    sizes = [whole]
    while sizes[0][0] >= 2 * needed[0] and sizes[0][1] >= 2 * needed[1]:
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    return sizes


def _value_names(controls: Any) -> Callable[[str], Mapping[str, Any]]:
    """Return what finds the names of a control's values: `AwbModeEnum` for AwbMode, also among drafts and the Pi's."""
    spaces = [controls, *(getattr(controls, vendor, None) for vendor in ("draft", "rpi"))]

    def names(control: str) -> Mapping[str, Any]:
        found = next((enum for space in spaces if (enum := getattr(space, f"{control}Enum", None)) is not None), None)
        return getattr(found, "__members__", {})
    return names


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn what picamera2 and libcamera raise into SourceMissing, with the first cause: the last one says little."""
    try:
        yield
    except (RuntimeError, IndexError, OSError, TypeError, ValueError) as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise SourceMissing(f"picamera2: {first}") from error


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError, OSError) as error:    # ValueError: "numpy.dtype size changed"
        raise SourceMissing(f"{name} cannot be imported: {error}; see `vedette doctor`") from error
