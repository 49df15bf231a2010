"""A strict picamera2: the part of its interface that we use, which complains where the real one starves or hangs.

Behaviour follows picamera2's source: `capture_request(wait=False)` gives a job, `wait(job, timeout)` a request;
lores rows are padded to a stride of 64; a request not released is a buffer the camera lacks. The file named by
FAKE_PICAMERA2 orders faults: "hang", "hang in stop", "none".
"""

import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import numpy as np

STRIDE = 64


def _order() -> str:
    path = os.environ.get("FAKE_PICAMERA2")
    return Path(path).read_text() if path else ""


class Misuse(BaseException):
    """Not an Exception: nothing may swallow it."""


class Request:
    def __init__(self, camera: "Picamera2", number: int) -> None:
        self._camera, self._number, self._held = camera, number, True
        self._stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 5_000_000

    def get_metadata(self) -> dict[str, int]:
        self.check()
        return {"SensorTimestamp": self._stamp_ns}

    def release(self) -> None:
        self.check()
        self._held = False
        self._camera.in_use -= 1

    def check(self) -> None:
        if not self._held:
            raise Misuse("request used or released after its release")

    def yuv(self) -> np.ndarray:
        width, height = self._camera.size
        stride = -(-width // STRIDE) * STRIDE
        planes = np.full((height * 3 // 2, stride), 128, np.uint8)
        planes[:height] = 77                                # the padding, which must never be seen
        planes[:height, :width] = 16 + self._number % 200
        return planes


class MappedArray:
    def __init__(self, request: Request, stream: str, reshape: bool = True) -> None:
        if stream != "lores":
            raise Misuse(f"stream {stream}")
        request.check()
        self.array: np.ndarray | None = request.yuv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.array = None


class Picamera2:
    _created = 0

    @staticmethod
    def global_camera_info() -> list[dict[str, object]]:
        usb = {"Model": "webcam", "Id": "/base/axi/usb/3-1", "Num": 1}
        board = {"Model": "imx708", "Id": "/base/soc/i2c0mux/imx708@1a", "Num": 0}
        return [usb] if _order() == "none" else [usb, board]

    def __init__(self, number: int) -> None:
        Picamera2._created += 1
        if Picamera2._created > 1:
            raise Misuse("created twice in one process: leaks contiguous memory")
        if number != 0:
            raise Misuse(f"camera {number}")
        self.in_use, self._number, self._running = 0, 0, False
        self.size = (0, 0)
        self._config: dict[str, Any] = {}

    def create_video_configuration(self, main: dict[str, Any], lores: dict[str, Any], buffer_count: int, queue: bool,
                                   controls: dict[str, Any]) -> dict[str, Any]:
        if lores["format"] != "YUV420" or queue or controls["FrameRate"] <= 0 or main["size"] < lores["size"]:
            raise Misuse("not a configuration for a Pi 4: lores must be YUV420, queue off, main not smaller")
        return {"main": main, "lores": lores, "buffer_count": buffer_count, "controls": controls}

    def configure(self, config: dict[str, Any]) -> None:
        self._config = config
        self.size = config["lores"]["size"]

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def start(self) -> None:
        self._running = True

    def capture_request(self, wait: bool | None = None, signal_function: object = None,
                        flush: bool | None = None) -> Future[Request]:
        if not self._running or wait is not False:
            raise Misuse("captured while stopped, or without a time-out")
        if self.in_use:
            raise Misuse("a request is held while the next is asked for: the camera starves")
        return Future()

    def wait(self, job: Future[Request], timeout: float | None = None) -> Request:
        if not timeout:
            raise Misuse("wait without a time-out")
        if _order() == "hang":
            return job.result(timeout)
        threading.Event().wait(1 / self._config["controls"]["FrameRate"])
        self._number += 1
        self.in_use += 1
        return Request(self, self._number)

    def cancel_all_and_flush(self) -> None:
        pass

    def stop(self) -> None:
        if _order() in ("hang", "hang in stop"):
            threading.Event().wait()
        self._running = False

    def close(self) -> None:
        if self._running:
            raise Misuse("closed while running")
