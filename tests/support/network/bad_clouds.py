"""Detection servers of every kind, most of them bad, and how long a client stays connected to each.

`CLOUDS` names them. One is no server at all: `deaf` takes no connection.
"""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.network.clouds import ANSWER, PERSON, whole_request
from tests.support.network.rude_server import Behave, dripping, serving
from tests.support.waiting.fair_clock import fair_s

GOOD = json.dumps(ANSWER).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FAR = b"Sun, 01 Jan 2090 00:00:00 GMT"
PAST = b"Sat, 01 Jan 2000 00:00:00 GMT"
DRIP_S = 1.0
GIGABYTE = 1 << 30


class Call:
    """One connection, in seconds since 1970; it has ended when the client hung up, or the server did.

    `fair_s` is how long it lasted by the fair clock.
    """

    def __init__(self) -> None:
        self.began_s = time.time()
        self.ended_s = float("inf")
        self.fair_s = 0.0
        self._began_fair_s = fair_s()

    def end(self) -> None:
        self.ended_s = time.time()
        self.fair_s = fair_s() - self._began_fair_s

    def __contains__(self, moment_s: float) -> bool:
        return self.began_s <= moment_s < self.ended_s


@dataclass(frozen=True)
class Cloud:
    """`calls`: how many a failing one gets at once; it works where that is None. `behave` None: takes no connection."""

    behave: Behave | None
    calls: int | None = 3
    tls: bool = False


@dataclass
class Open:
    """A cloud that is open."""

    url: str
    calls: list[Call] = field(default_factory=list)


def says(*parts: bytes, after_s: float = 0.0, then_hold: bool = False) -> Behave:
    """Read the request, wait, answer with these bytes; then close, or hold."""
    def behave(connection: socket.socket, gone: threading.Event) -> None:
        whole_request(connection)
        gone.wait(after_s)
        for part in parts:
            connection.sendall(part)
        if then_hold:
            gone.wait(30)
    return behave


def sized(body: bytes, head: bytes = OK, *, after_s: float = 0.0, then_hold: bool = False) -> Behave:
    return says(head + b"Content-Length: %d\r\n\r\n" % len(body) + body, after_s=after_s, then_hold=then_hold)


def status(line: bytes, *headers: bytes) -> Behave:
    return says(b"\r\n".join([b"HTTP/1.1 " + line, *headers, b"Content-Length: 0", b"", b""]))


def flood(head: bytes, part: bytes, times: int) -> Behave:
    """Answer with the same part again and again, as fast as it is taken."""
    def behave(connection: socket.socket, gone: threading.Event) -> None:
        whole_request(connection)
        connection.sendall(head)
        for _ in range(times):
            if gone.is_set():
                return
            connection.sendall(part)
    return behave


def in_chunks(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    cut = (body[at:at + size] for at in range(0, len(body), size))
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in cut) + b"0\r\n" + trailers + b"\r\n"


def hang(_connection: socket.socket, gone: threading.Event) -> None:
    gone.wait(30)


def close(_connection: socket.socket, _gone: threading.Event) -> None:
    """Close without having read, which resets the connection."""


def reset(connection: socket.socket, _gone: threading.Event) -> None:
    whole_request(connection)
    connection.sendall(OK)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip_tls(connection: socket.socket, gone: threading.Event) -> None:
    """Send the head of a handshake record, then a byte a second of it."""
    connection.recv(4096)
    connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    while not gone.wait(DRIP_S):
        connection.sendall(b"\x03")


def other(old: bytes, new: bytes) -> Behave:
    assert old in GOOD
    return sized(GOOD.replace(old, new))


def drip(before: bytes, drop: bytes) -> Behave:
    return dripping(before, drop, DRIP_S)


MILLION = (b'{"model": null, "detections": [', json.dumps(PERSON).encode() + b",")
CLOUDS: dict[str, Cloud] = {
    "plain": Cloud(sized(GOOD), None),
    "plain, TLS": Cloud(sized(GOOD), None, tls=True),
    "slow but in time": Cloud(sized(GOOD, after_s=0.8), None),
    "HTTP/1.0": Cloud(says(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD), None),
    "100, then the answer": Cloud(sized(GOOD, b"HTTP/1.1 100 Continue\r\n\r\n" + OK), None),
    "103, then the answer": Cloud(sized(GOOD, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK), None),
    "chunks of a byte": Cloud(says(in_chunks(GOOD, 1)), None),
    "trailers": Cloud(says(in_chunks(GOOD, 20, b"Expires: never\r\nX-Checksum: 1\r\n")), None),
    "keeps the connection": Cloud(sized(GOOD, then_hold=True), None),
    "takes no connection": Cloud(None),
    "hangs": Cloud(hang),
    "hangs in TLS": Cloud(hang, tls=True),
    "drips in TLS": Cloud(drip_tls, tls=True),
    "hangs behind TLS": Cloud(says(then_hold=True), tls=True),
    "drips behind TLS": Cloud(drip(OK + b"\r\n", b" "), tls=True),
    "drips its status line": Cloud(drip(b"", b"H")),
    "drips a header": Cloud(drip(OK + b"X: ", b"y")),
    "drips headers": Cloud(drip(OK, b"X: y\r\n")),
    "drips its body": Cloud(drip(OK + b"Content-Length: 900\r\n\r\n", b" ")),
    "drips chunks": Cloud(drip(CHUNKED, b"1\r\n \r\n")),
    "drips 100 Continue": Cloud(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "answers late": Cloud(sized(GOOD, after_s=3.0)),
    "never ends its answer": Cloud(says(OK + b"\r\n" + GOOD, then_hold=True)),
    "500": Cloud(status(b"500 Internal Server Error")),
    "502 with a page": Cloud(sized(b"<html>" * 1000, b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n")),
    "401": Cloud(status(b"401 Unauthorized"), 1),
    "429, seconds": Cloud(status(b"429 Too Many Requests", b"Retry-After: 60"), 1),
    "429, a date": Cloud(status(b"429 Too Many Requests", b"Retry-After: " + FAR), 1),
    "429, huge": Cloud(status(b"429 Too Many Requests", b"Retry-After: " + b"9" * 400), 1),
    "429, negative": Cloud(status(b"429 Too Many Requests", b"Retry-After: -60")),
    "429, a date in the past": Cloud(status(b"429 Too Many Requests", b"Retry-After: " + PAST)),
    "429, nonsense": Cloud(status(b"429 Too Many Requests", b"Retry-After: \xff soon 1e9")),
    "redirect": Cloud(status(b"307 Temporary Redirect", b"Location: http://127.0.0.1:9/")),
    "204": Cloud(says(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "closes at once": Cloud(close),
    "resets": Cloud(reset),
    "ends early": Cloud(says(OK + b"Content-Length: 900\r\n\r\n" + GOOD)),
    "ends within a chunk": Cloud(says(CHUNKED + b"fff\r\n" + GOOD)),
    "a chunk of 16 exabytes": Cloud(says(CHUNKED + b"ffffffffffffffff\r\n" + GOOD, then_hold=True)),
    "endless headers": Cloud(flood(OK, b"X: " + b"y" * 60_000 + b"\r\n", 20_000)),
    "1 GB, declared": Cloud(flood(OK + b"Content-Length: %d\r\n\r\n" % GIGABYTE, b" " * 65536, GIGABYTE >> 16)),
    "1 GB, chunked": Cloud(flood(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n", GIGABYTE >> 16)),
    "1 GB, neither": Cloud(flood(OK + b"\r\n", b" " * 65536, GIGABYTE >> 16)),
    "a gzip bomb": Cloud(sized(gzip.compress(b" " * 200_000_000), OK + b"Content-Encoding: gzip\r\n")),
    "gzip, unasked": Cloud(sized(gzip.compress(GOOD), OK + b"Content-Encoding: gzip\r\n")),
    "a page": Cloud(sized(b"<html><body>Welcome</body></html>")),
    "a million detections": Cloud(flood(OK + b"\r\n" + MILLION[0], MILLION[1] * 100, 10_000)),
    "deep": Cloud(sized(b"[" * 200_000)),
    "nothing": Cloud(sized(b"")),
    "another object": Cloud(sized(b'{"predictions": []}')),
    "NaN": Cloud(other(b"0.9", b"NaN")),
    "a score of 1e999": Cloud(other(b"0.9", b"1e999")),
    "boxes in pixels": Cloud(other(b"0.75", b"360")),
    "a box inside out": Cloud(other(b"[0.25, 0.25, 0.5, 0.75]", b"[0.5, 0.25, 0.25, 0.75]")),
    "no HTTP": Cloud(says(GOOD)),
    "HTTP/2": Cloud(says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18)),
}


@contextmanager
def opened(cloud: Cloud, certificate: tuple[Path, Path]) -> Iterator[Open]:
    """Open it on loopback; calls are noted as they come."""
    one = Open(f"{'https' if cloud.tls else 'http'}://127.0.0.1:{{}}/v1/detect")
    behave = cloud.behave
    with deaf(one.calls) if behave is None else serving(_watched(behave, one.calls, certificate, cloud)) as port:
        one.url = one.url.format(port)
        yield one


def _watched(behave: Behave, calls: list[Call], certificate: tuple[Path, Path], cloud: Cloud) -> Behave:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    shakes_hands = cloud.tls and behave not in (hang, drip_tls)

    def watched(connection: socket.socket, stopping: threading.Event) -> None:
        calls.append(call := Call())
        gone = threading.Event()
        watching = threading.Thread(target=_watch, args=(connection.fileno(), stopping, gone, call))
        watching.start()
        try:
            if shakes_hands:
                with context.wrap_socket(connection, server_side=True) as secured:
                    behave(secured, gone)
            else:
                behave(connection, gone)
        finally:
            gone.set()
            watching.join(10)
    return watched


def _watch(descriptor: int, stopping: threading.Event, gone: threading.Event, call: Call) -> None:
    """Note when the client hangs up, without reading from it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    while not (stopping.is_set() or gone.is_set() or poll.poll(20)):
        pass
    call.end()
    gone.set()


@contextmanager
def deaf(calls: list[Call]) -> Iterator[int]:
    """Listen with a full backlog; calls are what the kernel shows as a connection being tried."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        ours = {each.getsockname()[1] for each in waiting}
        watching = threading.Thread(target=_watch_tries, args=(port, ours, calls, over))
        watching.start()
        try:
            yield port
        finally:
            over.set()
            watching.join(10)
            for each in waiting:
                each.close()


def _watch_tries(port: int, ours: set[int], calls: list[Call], over: threading.Event) -> None:
    trying: dict[int, Call] = {}
    while not over.wait(0.02):
        rows = (line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        now = {int(here.split(":")[1], 16) for here, there, state in rows
               if state == "02" and int(there.split(":")[1], 16) == port} - ours
        for local in now - trying.keys():
            trying[local] = Call()
            calls.append(trying[local])
        for local in trying.keys() - now:
            trying.pop(local).end()
