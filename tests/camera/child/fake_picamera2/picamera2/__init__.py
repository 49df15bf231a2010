"""A strict picamera2: the part of its interface that we use. It refuses, starves or hangs where the real one does.

Its rules, each with the lines of picamera2 0.3.36 (commit bd44842) that say so. A breach that the real one would take
without a word, and then do something else than was meant, is a `Misuse` here. So is one that hangs there for ever.

  index      picamera2.py:312, 344    Picamera2(n) is number n of the sorted list, CSI before USB. `Num` is libcamera's.
  missing    picamera2.py:344         a number beyond the list is an IndexError.
  busy       picamera2.py:366-368, 574  one process has a camera. For another one the constructor is a RuntimeError.
  tuning     picamera2.py:327-337     without `tuning` the variable LIBCAMERA_RPI_TUNING_FILE is dropped.
  closed     picamera2.py:897-898     nothing can be configured on a closed camera: RuntimeError.
  reopen     picamera2.py:704-734     close() frees the buffers. A second camera before that fills the memory (#887).
  keys       picamera2.py:748-759     a stream has format, size, stride, preserve_ar; another key is a ValueError.
  raw        picamera2.py:885, 908-910  a raw stream is there unless raw=None. Its buffers are contiguous memory too.
  colour     picamera2.py:911-916     without colour_space: Smpte170m below 1280 x 720, else Rec709.
  rate       picamera2.py:917-921     without a rate the frames are 33,333 us long. FrameRate stands for the limits.
  even       picamera2.py:799, 962-963, 1086-1099  sizes are cut to even ones, and odd ones refused.
  lores      picamera2.py:986-991     lores is no larger than main; up to the Pi 4 it is YUV.
  types      picamera2.py:972-975     colour space and transform are libcamera's objects: else RuntimeError.
  sensor     picamera2.py:977-981     the sensor configuration has bit_depth and output_size alone.
  usb        picamera2.py:762-764, 900-902  a USB camera has no raw stream, no sensor modes and no second stream.
  stopped    picamera2.py:1167-1168   configured only while stopped: RuntimeError.
  mode       picamera2.py:1053-1082   the mode nearest to the asked size and shape wins, though it sees less.
  crop       picamera2.py:609-612     the largest ScalerCrop of a mode is what its pixels see of the sensor.
  queue      picamera2.py:1249-1252   with queue=True the next request may be older than the question.
  memory     dmaallocator.py:48, dma_heap.py:93  the buffers of all streams are taken from contiguous memory: OSError.
  controls   controls.py:32-33        a control that the camera does not advertise is a RuntimeError.
  overwrite  picamera2.py:1270-1271   configure() forgets the controls that were set before it.
  default    picamera2.py:1343-1346   start() without a configuration takes that of a preview.
  timeout    picamera2.py:1499-1506, 1537, job.py:78-84  only wait(job, timeout) ends: TimeoutError.
  jobs       picamera2.py:1354-1366, 1457-1463  a job that timed out stays first in line until cancel_all_and_flush().
  release    request.py:113-118, 150-152  a request is released once, and holds nothing afterwards.
  starve     picamera2.py:1117-1128   there are as many requests as buffers: one that is held is missing.
  stream     request.py:31-35, 161-167  a stream that was not configured has no buffer: KeyError.
  stride     request.py:319-324, picamera2.py:1089-1093  YUV420 has 3/2 of the rows, each as long as the padded stride.
  time       request.py:161-167, picamera2.py:1558-1559  the metadata has SensorTimestamp, in ns since the boot.
  stop       picamera2.py:1394-1405   stop() is a job too, and waits without a limit (#1065, #1264).

The modes of the sensors are those in picamera2 #683 (imx219) and rpicam-apps #570 (imx708). Rates differ by kernel.

`board.json` in the folder FAKE_PICAMERA2 describes the board: `cameras` (as libcamera orders them), `platform`,
`memory` (bytes) and `fault` ("hang", "hang in stop"). `started.json` beside it says what was started, and how.
"""

import fcntl
import json
import os
import threading
import time
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, ClassVar, Self

import libcamera
import numpy as np

USB = "/base/axi/pcie@1000120000/rp1/usb@200000-1:1.0-046d:0825"
CSI = "/base/axi/pcie@1000120000/rp1/i2c@88000/"
CSI_2 = "/base/axi/pcie@1000120000/rp1/i2c@80000/"
BOARD: dict[str, Any] = {"cameras": [f"{CSI}imx708@1a", USB], "platform": "pisp", "memory": 64 << 20, "fault": ""}
COLORS = {CSI: (40, 120, 200), CSI_2: (180, 90, 60), USB: (10, 10, 10)}
"""What each place shows, as BGR. A camera on another place is grey."""
SENSORS: dict[str, dict[str, Any]] = {
    "imx708": {"array": (4608, 2592), "lens": True, "modes": (
        ((1536, 864), (768, 432, 3072, 1728), 120.13), ((2304, 1296), (0, 0, 4608, 2592), 56.03),
        ((4608, 2592), (0, 0, 4608, 2592), 14.35))},
    "imx219": {"array": (3280, 2464), "lens": False, "modes": (
        ((640, 480), (1000, 752, 1280, 960), 206.65), ((1640, 1232), (0, 0, 3280, 2464), 83.7),
        ((1920, 1080), (680, 692, 1920, 1080), 47.57), ((3280, 2464), (0, 0, 3280, 2464), 21.19))},
}
RAW_BYTES = 2
EMPTY: dict[str, Any] = {}
UPRIGHT = libcamera.Transform()


class Misuse(BaseException):
    """Not an Exception: nothing may swallow it."""


def _folder() -> Path:
    return Path(os.environ["FAKE_PICAMERA2"])


def _board() -> dict[str, Any]:
    changed: dict[str, Any] = json.loads((_folder() / "board.json").read_text())
    return BOARD | changed


def _model(place: str) -> str:
    return "C270 HD WEBCAM" if "/usb" in place else place.rpartition("/")[2].partition("@")[0]


class CompletedRequest:
    def __init__(self, camera: "Picamera2", number: int, age_ns: int) -> None:
        self._camera, self._number, self._held = camera, number, True
        self._stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - age_ns

    def get_metadata(self) -> dict[str, int]:
        self.check()
        return {"SensorTimestamp": self._stamp_ns}

    def release(self) -> None:
        self.check()
        self._held = False
        self._camera.in_use -= 1

    def check(self) -> None:
        if not self._held:
            raise Misuse("release: a request was used or released after its release")

    def yuv(self, stream: str) -> np.ndarray:
        """The planes of a flat picture in the configured colour space. The padding differs."""
        config = self._camera.camera_config[stream]
        if config is None:
            raise KeyError(stream)
        (width, height), stride, space = config["size"], config["stride"], self._camera.camera_config["colour_space"]
        blue, green, red = (each / 255 for each in self._camera.color(self._number))
        luma = space.red * red + (1 - space.red - space.blue) * green + space.blue * blue
        u, v = (blue - luma) / (2 - 2 * space.blue), (red - luma) / (2 - 2 * space.red)
        scale, low, chroma = (255, 0, 255) if space.full else (219, 16, 224)
        planes = np.empty((height * 3 // 2, stride), np.uint8)
        planes[:height] = 77                                # the padding, which must never be seen
        planes[:height, :width] = round(low + scale * luma)
        flat = planes.reshape(-1)[height * stride:]
        flat[:flat.size // 2], flat[flat.size // 2:] = round(128 + chroma * u), round(128 + chroma * v)
        return planes


class MappedArray:
    def __init__(self, request: CompletedRequest, stream: str, reshape: bool = True, write: bool = True) -> None:
        request.check()
        self.array: np.ndarray | None = request.yuv(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.array = None


class Picamera2:
    _open: ClassVar[list["Picamera2"]] = []

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        found = [{"Model": _model(place), "Location": 2, "Rotation": 180, "Id": place, "Num": number}
                 for number, place in enumerate(_board()["cameras"])]
        found.sort(key=lambda camera: str(camera["Id"]), reverse=True)
        return [camera for camera in found if "/usb" not in str(camera["Id"])] + [
            camera for camera in found if "/usb" in str(camera["Id"])]

    def __init__(self, camera_num: int = 0, verbose_console: int | None = None, tuning: str | None = None,
                 allocator: object = None) -> None:
        if Picamera2._open:
            raise Misuse("reopen: opened again before it was closed")
        os.environ.pop("LIBCAMERA_RPI_TUNING_FILE", None)
        if tuning is not None:
            os.environ["LIBCAMERA_RPI_TUNING_FILE"] = tuning
        self._place = str(self.global_camera_info()[camera_num]["Id"])
        self._lock = (_folder() / f"lock-{self._place.replace('/', '_')}").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            busy = RuntimeError("Failed to acquire camera: Device or resource busy")
            raise RuntimeError("Camera __init__ sequence did not complete.") from (busy if error else error)
        Picamera2._open.append(self)
        self._closed, self._started = False, False
        self._usb = "/usb" in self._place
        self._sensor = SENSORS.get(_model(self._place), SENSORS["imx219"])
        self._mode = self._sensor["modes"][-1]
        self.sensor_resolution = self._mode[0]
        self.camera_config: dict[str, Any] = {}
        self._controls: dict[str, Any] = {}
        self._jobs: list[Future[CompletedRequest]] = []
        self.in_use, self._number = 0, 0

    @property
    def camera_properties(self) -> dict[str, Any]:
        filters = {} if self._usb else {"ColorFilterArrangement": 0}
        return {} if self._closed else {"Model": _model(self._place), "PixelArraySize": self._sensor["array"]} | filters

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        if self._closed:
            return {}
        if self._usb:
            return {"Brightness": (-1.0, 1.0, 0.0)}
        shortest = int(1e6 / self._mode[2])
        advertised: dict[str, tuple[Any, Any, Any]] = {
            "AeEnable": (False, True, True), "AnalogueGain": (1.0, 16.0, 1.0), "AwbMode": (0, 7, 0),
            "Brightness": (-1.0, 1.0, 0.0), "ColourGains": (0.0, 32.0, None), "ExposureTime": (26, 220_417_486, 20_000),
            "FrameDurationLimits": (shortest, 220_535_845, 33_333), "HdrMode": (0, 4, 0),
            "NoiseReductionMode": (0, 4, 0), "Sharpness": (0.0, 16.0, 1.0),
            "ScalerCrop": ((0, 0, 64, 64), self._mode[1], self._mode[1])}
        lens = {"AfMode": (0, 2, 0), "AfWindows": ((0, 0, 0, 0), (65535, 65535, 65535, 65535), (0, 0, 0, 0)),
                "LensPosition": (0.0, 32.0, 1.0)}
        return advertised | (lens if self._sensor["lens"] else {})

    @property
    def sensor_modes(self) -> list[dict[str, Any]]:
        return [{"format": "SRGGB10_CSI2P", "unpacked": "SRGGB10", "bit_depth": 10, "size": size, "fps": fps,
                 "crop_limits": crop, "exposure_limits": (26, 220_417_486, 20_000)}
                for size, crop, fps in self._sensor["modes"]]

    def create_video_configuration(
            self, main: dict[str, Any] = EMPTY, lores: dict[str, Any] | None = None, raw: dict[str, Any] | None = EMPTY,
            transform: libcamera.Transform = UPRIGHT, colour_space: libcamera.ColorSpace | None = None,
            buffer_count: int = 6, controls: dict[str, Any] = EMPTY, display: str | None = "main",
            encode: str | None = "main", queue: bool = True, sensor: dict[str, Any] | None = EMPTY,
            use_case: str = "video") -> dict[str, Any]:
        if self._closed:
            raise RuntimeError("Camera not opened")
        main = self._stream({"format": "XBGR8888", "size": (1280, 720)}, main)
        lores = None if lores is None else self._stream({"format": "YUV420", "size": main["size"]}, lores)
        raw = None if raw is None or self._usb else {"format": "SRGGB10_CSI2P", "size": main["size"]} | raw
        if colour_space is None:
            small = main["size"][0] < 1280 or main["size"][1] < 720
            colour_space = libcamera.ColorSpace.Smpte170m() if small else libcamera.ColorSpace.Rec709()
        rate = {} if self._usb else {"NoiseReductionMode": 1, "FrameDurationLimits": (33_333, 33_333)}
        return {"use_case": use_case, "transform": transform, "colour_space": colour_space,
                "buffer_count": buffer_count, "queue": queue, "main": main, "lores": lores, "raw": raw,
                "controls": rate | controls, "sensor": None if self._usb else sensor, "display": display,
                "encode": encode}

    def _stream(self, default: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        for key in asked:
            if key not in ("format", "size", "stride", "preserve_ar"):
                raise ValueError(f"Bad key {key!r}")
        stream = default | asked
        stream["size"] = (stream["size"][0] & ~1, stream["size"][1] & ~1)
        return stream

    def configure(self, config: dict[str, Any]) -> None:
        if self._started:
            raise RuntimeError("Camera must be stopped before configuring")
        self.camera_config, self._controls = {}, {}
        self._check(config)
        config = dict(config)
        if not self._usb:
            self._mode = self._nearest(config)
            config["sensor"] = {"output_size": self._mode[0], "bit_depth": 10}
        align = 64 if _board()["platform"] == "vc4" else 128
        taken = 0
        for name in ("main", "lores", "raw"):
            if config[name] is not None:
                (width, height), rows = config[name]["size"], 1.5
                stride = -(-width // align) * align
                if name == "raw":
                    (width, height), rows = self._mode[0], 1
                    stride = width * RAW_BYTES
                config[name] |= {"stride": stride, "framesize": int(stride * height * rows)}
                taken += config["buffer_count"] * config[name]["framesize"]
        if taken > _board()["memory"]:
            raise OSError(12, "Cannot allocate memory")
        self._taken = taken
        self.camera_config = config
        self.set_controls(config["controls"])

    def _check(self, config: dict[str, Any]) -> None:
        if not isinstance(config["colour_space"], libcamera.ColorSpace):
            raise RuntimeError("Colour space has incorrect type")  # noqa: TRY004 - as the real one
        if not isinstance(config["transform"], libcamera.Transform):
            raise RuntimeError("Transform has incorrect type")  # noqa: TRY004 - as the real one
        if set(config["sensor"] or {}) - {"bit_depth", "output_size"}:
            raise RuntimeError("Unexpected keys in sensor configuration")
        lores = config["lores"]
        if lores is not None:
            if lores["size"][0] > config["main"]["size"][0] or lores["size"][1] > config["main"]["size"][1]:
                raise RuntimeError("lores stream dimensions may not exceed main stream")
            if _board()["platform"] == "vc4" and lores["format"] != "YUV420":
                raise RuntimeError("lores stream must be YUV")
        if self._usb and (lores is not None or config["main"]["format"] not in ("MJPEG", "YUYV")):
            raise RuntimeError(f"Invalid camera configuration: {config}")

    def _nearest(self, config: dict[str, Any]) -> tuple[Any, ...]:
        """The mode with the least distance: too many pixels count a quarter, too few twice; the shape counts most."""
        asked = (config["sensor"] or {}).get("output_size") or (config["raw"] or config["main"])["size"]

        def distance(want: float, have: float) -> float:
            return (have - want) / 4 if have > want else 2 * (want - have)

        def score(mode: tuple[Any, ...]) -> float:
            size = mode[0]
            return (distance(asked[0], size[0]) + distance(asked[1], size[1])
                    + 1500 * distance(asked[0] / asked[1], size[0] / size[1]))
        return min(self._sensor["modes"], key=score)

    def set_controls(self, controls: dict[str, Any]) -> None:
        given = dict(controls)
        if "FrameRate" in given:
            duration_us = int(1e6 / given.pop("FrameRate"))
            given["FrameDurationLimits"] = (duration_us, duration_us)
        for name, value in given.items():
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
            if isinstance(value, str):
                raise Misuse(f"controls: {name}: {value!r} is no number")
        self._controls |= given

    def camera_configuration(self) -> dict[str, Any]:
        return self.camera_config

    def start(self) -> None:
        if not self.camera_config:
            raise Misuse("default: started without a configuration: a preview, which nobody wants")
        self._started = True
        config = self.camera_config
        started = {
            "place": self._place, "streams": [name for name in ("main", "lores", "raw") if config[name]],
            "mode": self._mode[0], "crop": self._mode[1], "colour_space": config["colour_space"].name,
            "hflip": config["transform"].hflip, "vflip": config["transform"].vflip, "controls": self._controls,
            "tuning": os.environ.get("LIBCAMERA_RPI_TUNING_FILE"), "taken": self._taken}
        (_folder() / "started.json").write_text(json.dumps(started))

    def color(self, number: int) -> tuple[int, int, int]:
        """What the camera sees. It changes a little from frame to frame."""
        seen = next((color for place, color in COLORS.items() if self._place.startswith(place)), (128, 128, 128))
        return (seen[0] + number % 5, seen[1], seen[2])

    def capture_request(self, wait: bool | None = None, signal_function: object = None,
                        flush: bool | None = None) -> Future[CompletedRequest]:
        if not self._started or wait is not False:
            raise Misuse("timeout: captured while stopped, or without a time-out")
        if self._jobs:
            raise Misuse("jobs: an earlier job that timed out is still first in line")
        if self.in_use >= self.camera_config["buffer_count"] - 1:
            raise Misuse("starve: the camera has one buffer left, or none")
        self._jobs.append(Future())
        return self._jobs[0]

    def wait(self, job: Future[CompletedRequest], timeout: float | None = None) -> CompletedRequest:
        if not timeout:
            raise Misuse("timeout: wait without a time-out")
        if _board()["fault"] == "hang":
            return job.result(timeout)
        threading.Event().wait(self._controls["FrameDurationLimits"][0] / 1e6)
        self._jobs.remove(job)
        self._number += 1
        self.in_use += 1
        old = self.camera_config["queue"] and self.camera_config["buffer_count"] > 1
        return CompletedRequest(self, self._number, 2_000_000_000 if old else 5_000_000)

    def cancel_all_and_flush(self) -> None:
        for job in self._jobs:
            job.set_exception(CancelledError())
        self._jobs = []

    def stop(self) -> None:
        if self._jobs:
            raise Misuse("stop: it waits for ever behind a job that timed out")
        if self._started and _board()["fault"] in ("hang", "hang in stop"):
            threading.Event().wait()
        self._started = False

    def close(self) -> None:
        if not self._closed:
            self.stop()
            self._closed = True
            self._lock.close()
            Picamera2._open.remove(self)
