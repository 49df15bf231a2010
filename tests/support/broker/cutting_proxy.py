"""A TCP proxy on loopback that cuts, refuses and swallows: the network between a device and its broker."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

from tests.support.waiting.in_thread import InThread


class CuttingProxy(InThread):
    """Forwards connections to a port. `cut` resets those there are; then `refusing` or `swallowing` may hold."""

    def __init__(self, target_port: int) -> None:
        super().__init__()
        self.refusing = False
        self.swallowing = False
        self.connections = 0
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.cut()
        self._selector.close()
        self._listener.close()

    def cut(self) -> None:
        """Reset every connection, without a DISCONNECT; data in flight is lost."""
        with self._lock:
            for end in list(self._peers):
                self._reset(end)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._peers:
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.refusing:
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            near.close()        # as nobody listens there
            return
        self.connections += 1
        for end, other in ((near, far), (far, near)):
            self._peers[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _forward(self, end: socket.socket) -> None:
        try:
            content = end.recv(65536)
            if content and not self.swallowing:
                self._peers[end].sendall(content)
        except OSError:
            content = b""
        if not content:
            self._reset(end)

    def _reset(self, end: socket.socket) -> None:
        other = self._peers.pop(end, None)
        if other is None:
            return
        self._peers.pop(other, None)
        for one in (end, other):
            self._selector.unregister(one)
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
