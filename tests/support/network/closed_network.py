"""A network for one device, and a listener that records every packet in it: as root.

`ClosedNetwork` links it to ours by one cable; every route of the device leads to us, and nothing forwards a packet. So
whatever a process in there sends, to whatever address, by whatever protocol, is a packet on that cable or on its
loopback. `python closed_network.py ear` is the process that holds the network and listens, `python closed_network.py
NAMESPACE …` runs Python with these arguments in there.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Self

from tests.support.network.another_host import checked, unshare

US, DEVICE = "10.231.0.1", "10.231.0.2"
US6, DEVICE6 = "fd31::1", "fd31::2"
CABLE = "cable"
CLONE_NEWNET = 0x40000000
ETH_P_ALL, IPV4, ARP, IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD
ICMP6, HOP_BY_HOP = 58, 0
OF_THE_KERNEL = {133, 135, 136, 143}
"""ICMPv6 that every interface sends when it comes up: router and neighbour solicitations, multicast reports."""
TO_ITSELF = f"{DEVICE} icmp"
"""On the loopback: after a cut of the cable the kernel reports that no host can be reached."""
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", ICMP6: "icmp6"}
READY = b"ready\n"


def missing() -> str | None:
    """Why no such network can be made here, or None. A process of its own tries."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "networks of one's own need root and iproute2"
    tried = subprocess.run([sys.executable, __file__, "try"], capture_output=True, timeout=60, check=False)
    return None if tried.returncode == 0 else f"no network of one's own: {tried.stderr.decode().strip()[-200:]}"


class ClosedNetwork:
    """Moves this process to a network of its own as well: make it before there are threads.

    `sent` counts packets of the device by where they went: `10.231.0.1 tcp 1883`, `who has 10.231.0.7`.
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        checked(unshare(CLONE_NEWNET))
        self._ear = subprocess.Popen([sys.executable, __file__, "ear"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._ear.stdin is not None
        assert self._ear.stdout is not None
        self._orders, self._packets = self._ear.stdin, self._ear.stdout
        self._say(b"", READY)
        _ip("link set lo up")
        _ip(f"link add {CABLE} type veth peer name eth0 netns {self._ear.pid}")
        _ip(f"addr add {US}/24 dev {CABLE}")
        _ip(f"-6 addr add {US6}/64 dev {CABLE} nodad")
        self.plug(in_=True)
        self._say(b"up\n", READY)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._ear.wait(60)
        self._thread.join(60)

    @property
    def program(self) -> tuple[str, str]:
        """The program that runs Python in this network."""
        return __file__, f"/proc/{self._ear.pid}/ns/net"

    def plug(self, *, in_: bool) -> None:
        """Connect the cable, or cut it."""
        _ip(f"link set {CABLE} {'up' if in_ else 'down'}")

    def elsewhere(self, port: int) -> dict[str, int]:
        """Return the packets to anything but a broker at our end of the cable."""
        allowed = {f"{US} tcp {port}", f"who has {US}"}
        return {where: count for where, count in sorted(self.sent.items()) if where not in allowed}

    def _say(self, command: bytes, answer: bytes) -> None:
        self._orders.write(command)
        self._orders.flush()
        assert self._packets.readline() == answer

    def _listen(self) -> None:
        for line in self._packets:
            self.sent.update(json.loads(line))


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, timeout=60)


def listen() -> None:
    """Hold a new network, and report every packet in it until standard input ends."""
    checked(unshare(CLONE_NEWNET))
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    for name in ("accept_ra", "router_solicitations", "dad_transmits"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/default/{name}").write_text("0")
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.readline()
    for command in ("link set lo up", f"addr add {DEVICE}/24 dev eth0", "link set eth0 up",
                    f"route add default via {US}", f"-6 addr add {DEVICE6}/64 dev eth0 nodad",
                    f"-6 route add default via {US6}"):
        _ip(command)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        packet, (interface, kind, direction, *_) = ear.recvfrom(65536)
        where = _where(kind, packet[14:]) if direction == socket.PACKET_OUTGOING else None
        if where is not None and not (interface == "lo" and where == TO_ITSELF):
            print(json.dumps([where if interface != "lo" else f"loopback: {where}"]), flush=True)


def _where(kind: int, packet: bytes) -> str | None:
    """Return where a packet goes, None if the kernel itself sent it."""
    if kind == ARP:
        return f"who has {ipaddress.ip_address(packet[24:28])}" if packet[6:8] == b"\0\1" else None
    if kind == IPV4:
        return _to(packet[16:20], packet[9], packet[(packet[0] & 15) * 4:])
    if kind == IPV6:
        protocol, rest = packet[6], packet[40:]
        if protocol == HOP_BY_HOP:
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8:]
        return None if protocol == ICMP6 and rest[0] in OF_THE_KERNEL else _to(packet[24:40], protocol, rest)
    return f"ether type {kind:04x}"


def _to(address: bytes, protocol: int, rest: bytes) -> str:
    name = PROTOCOLS.get(protocol, str(protocol))
    port = f" {struct.unpack('>H', rest[2:4])[0]}" if name in ("tcp", "udp") and len(rest) >= 4 else ""
    return f"{ipaddress.ip_address(address)} {name}{port}"


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "ear":
        listen()
    elif what == "try":
        with ClosedNetwork():
            return
    else:
        with Path(what).open() as namespace:
            checked(ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET))
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - ourselves, moved


if __name__ == "__main__":
    main()
