"""An HTTP camera on loopback: MJPEG, or one JPEG for each request. It misbehaves as its `mode` says."""

import http.server
import threading
from typing import Self

import cv2
import numpy as np

from tests.support.daemon.films import grey_jpeg, without_size

DAMAGED_EVERY = 5


class MjpegServer:
    """Serves noise at 20 frames per second. `swallowed`: bytes of each huge part.

    `mode`: flow, damaged, stall, end, huge or snapshot. `late_s`: seconds until it answers.
    """

    def __init__(self) -> None:
        self.mode = "flow"
        self.late_s = 0.0
        self.asked = 0
        self.protected = False
        self.swallowed: list[int] = []
        self.authorization: str | None = None
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"camera": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/video.mjpg"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    camera: MjpegServer

    def do_GET(self) -> None:
        camera = self.camera
        camera.authorization = self.headers.get("Authorization")
        camera.asked += 1
        camera.closing.wait(camera.late_s)
        if camera.protected and not camera.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif camera.mode == "snapshot":
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write(grey_jpeg(camera.asked % 40))
        else:
            self._stream()

    def log_message(self, *_: object) -> None:
        pass

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        random = np.random.default_rng()
        parts = 0
        while self.camera.mode != "end" and not self.camera.closing.wait(0.05):
            if self.camera.mode == "huge":
                self._pour()
                return
            parts += 1
            if self.camera.mode != "stall" and not self._part(random, damaged=parts % DAMAGED_EVERY == 0):
                return

    def _part(self, random: np.random.Generator, *, damaged: bool) -> bool:
        jpeg = cv2.imencode(".jpg", random.integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
        if self.camera.mode == "damaged" and damaged:
            jpeg = without_size(jpeg)
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        try:
            self.wfile.write(head + jpeg + b"\r\n")
        except OSError:
            return False
        return True

    def _pour(self) -> None:
        swallowed = self.camera.swallowed
        swallowed.append(0)
        try:
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 2000000000\r\n\r\n")
            while not self.camera.closing.is_set():
                self.wfile.write(bytes(2**20))
                swallowed[-1] += 2**20
        except OSError:
            pass
