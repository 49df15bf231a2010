"""A child that sends each message and its descriptors back; after `stay` it reads nothing."""

import os
import signal
import socket

from vedette._lib.child import MESSAGE_BYTES, begin_as_child

if __name__ == "__main__":
    parent = begin_as_child()
    while True:
        message, fds, _, _ = socket.recv_fds(parent, MESSAGE_BYTES, 4)
        if not message:
            break
        for fd in fds:
            message += os.read(fd, 100)
            os.close(fd)
        parent.send(message)
        if message == b"stay":
            signal.pause()
