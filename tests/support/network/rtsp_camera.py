"""An RTSP camera on loopback that can fall silent, like one behind a broken switch.

It speaks RTSP 1.0 with RTP/JPEG (RFC 2435) or RTP/H.264 (RFC 6184) interleaved in the one TCP connection: enough for
FFmpeg, nothing more.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from typing import BinaryIO, Self

import cv2
import numpy as np

from tests.support.network import h264

FPS = 15
HEIGHT, WIDTH = 96, 128
ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1",
    "PLAY": "Session: 1",
}
SDP = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=framerate:{FPS}\r\nm=video 0 RTP/AVP "
JPEG, H264 = 26, 96


class RtspCamera:
    """Serves noise with a lamp at `url`; `shown` has when, and in which cell of 4 x 4 it was.

    While silent it takes connections and says nothing on any.
    """

    media = f"{JPEG}\r\n"
    """How DESCRIBE names what comes."""

    def __init__(self) -> None:
        self.shown: deque[tuple[float, int]] = deque(maxlen=20 * FPS)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._speaking = threading.Event()
        self._speaking.set()
        self._closing = threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._random = np.random.default_rng()
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/cam"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._speaking.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fall_silent(self) -> None:
        self._speaking.clear()

    def speak_again(self) -> None:
        self._speaking.set()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self._connections = [one for one in self._connections if one.fileno() >= 0] + [connection]
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests, contextlib.suppress(OSError):
            while request := _request(requests):
                self._speaking.wait()
                connection.sendall(_answer(request, SDP + self.media).encode())
                if request[0].startswith("PLAY"):
                    self._play(connection)

    def _play(self, connection: socket.socket) -> None:
        seq = 0
        while not self._closing.wait(1 / FPS):
            self._speaking.wait()
            packet = self._packet(seq)
            connection.sendall(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
            seq += 1

    def _packet(self, seq: int) -> bytes:
        """Return the next picture as one RTP packet; small pictures fit."""
        picture = self._random.integers(20, 100, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        cell = int(self._random.integers(16))
        top, left = cell // 4 * HEIGHT // 4, cell % 4 * WIDTH // 4
        picture[top:top + HEIGHT // 4, left:left + WIDTH // 4] = 255
        self.shown.append((time.time(), cell))
        return _rtp(JPEG, seq) + _jpeg_payload(cv2.imencode(".jpg", picture)[1].tobytes())


class H264Camera(RtspCamera):
    """Serves a keyframe of grey 200, then dark pictures, and so on: every `group`th is a keyframe."""

    media = f"{H264}\r\na=rtpmap:{H264} H264/90000\r\na=fmtp:{H264} sprop-parameter-sets={h264.SPROP}\r\n"

    def __init__(self, group: int) -> None:
        super().__init__()
        self._group = group
        self.keyframes = 0

    def hang_up(self) -> None:
        """End every connection. The camera takes new ones."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _packet(self, seq: int) -> bytes:
        number = seq % self._group
        self.keyframes += number == 0
        return _rtp(H264, seq) + h264.picture(number, 40 if number else 200, keyframe=not number)


def _request(requests: BinaryIO) -> list[str]:
    """Return the lines of the next request, none at the end."""
    lines = []
    while line := requests.readline().strip():
        lines.append(line.decode("ascii", "replace"))
    return lines


def _answer(request: list[str], sdp: str) -> str:
    method = request[0].split()[0]
    number = next(line.partition(":")[2].strip() for line in request if line.lower().startswith("cseq"))
    if method == "SETUP" and not any("/TCP" in line for line in request):   # OpenCV 4 asks for UDP first
        return f"RTSP/1.0 461 Unsupported Transport\r\nCSeq: {number}\r\n\r\n"
    body, header = "", ANSWERS.get(method, "Session: 1")
    if method == "DESCRIBE":
        body, header = sdp, f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}"
    return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{header}\r\n\r\n{body}"


def _rtp(kind: int, seq: int) -> bytes:
    """Return the head of a packet that holds a whole picture."""
    return struct.pack(">BBHII", 0x80, 0x80 | kind, seq & 0xFFFF, seq * 90_000 // FPS & 0xFFFFFFFF, 1)


def _jpeg_payload(jpeg: bytes) -> bytes:
    tables, scan = _taken_apart(jpeg)
    picture = struct.pack(">IBBBB", 0, 1, 255, WIDTH // 8, HEIGHT // 8)   # type 1: 4:2:0; Q 255: tables follow
    return picture + struct.pack(">BBH", 0, 0, len(tables)) + tables + scan


def _taken_apart(jpeg: bytes) -> tuple[bytes, bytes]:
    """Return the quantization tables and the entropy-coded scan."""
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at:at + 4])
        segment = jpeg[at + 4:at + 2 + length]
        if marker == 0xFFDB:
            tables += b"".join(segment[one + 1:one + 65] for one in range(0, len(segment), 65))
        at += 2 + length
        if marker == 0xFFDA:
            return tables, jpeg[at:]
