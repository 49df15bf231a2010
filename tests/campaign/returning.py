"""Campaign `returning`: a broker comes back, and every device of a fleet connects again.

    .venv/bin/python tests/campaign/returning.py --devices 10000 --state .campaign/returning.json

Each device is a real connection to a real mosquitto, with the product's own `ReconnectPolicy` and backoff. A limiter
in front of the broker begins only so many connections a second, in the order of their arrival. A connection whose
client has given up costs as much as any other, as a TLS handshake does. So whoever gives up early makes it worse. While
the broker is down, the connect is refused. `--naive` shows the same with pauses of 3 s and a patience of 5 s.

A tenth of the devices are then whole `MqttPublisher`s: once over TLS, and once at a limiter that hangs up where the
first one lets wait. Two processes share the devices, since each may open 20,000 files. `attempts` are the connections
that reach the limiter after the return. Resumable by case. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Literal, get_args

from tests.support.broker.mosquitto import configuration, running
from tests.support.network.ports import kept_port
from tests.support.network.rude_server import certify
from vedette._lib.backoff import backoff
from vedette._lib.clock import SystemClock
from vedette.config.models import MqttConfig, TlsConfig
from vedette.errors import BrokerAway, BrokerBusy, BrokerError
from vedette.mqtt.publisher import RETRY_CAP_S, RETRY_FIRST_S, MqttPublisher
from vedette.mqtt.reconnect_policy import ReconnectPolicy
from vedette.mqtt.terms import Start, Terms

PROCESSES = 2
SHOWN_FOR_S = 200.0
LOOK_S = 0.1
PACE_S = 0.01
HANGS_UP_AFTER_S = 0.5
"""A limiter that hangs up lets only those wait whose turn comes within this time."""
_SPAWN = multiprocessing.get_context("spawn")


Kind = Literal["plain", "tls", "hung_up"]
"""`plain`: simulated connections. The others are whole publishers: over TLS, or hung up on instead of let wait."""


@dataclass(frozen=True)
class Case:
    """So many devices, connections a second, seconds without a broker, and the seconds in which all must be back."""

    kind: Kind
    devices: int
    rate: int
    down_s: float
    within_s: float

    def __str__(self) -> str:
        how = {"plain": "", "tls": " over TLS", "hung_up": ", hung up on,"}[self.kind]
        return f"{self.devices}{how} at {self.rate}/s after {self.down_s:g} s"


@dataclass
class Ended:
    """What `ReconnectPolicy` reads of a connection."""

    connected_s: float | None = None
    answered: bool = False
    session_present: bool = False
    hung_up: bool = False
    demand: Terms | None = None
    expects_tls: bool | None = None


class NaivePolicy(ReconnectPolicy):
    """What is wrong in a crowd: the same patience and the same short pauses, however often they were in vain."""

    def start(self) -> Start:
        return Start(Terms(is_v5=True))

    def pause_s(self, end: BrokerError, delay_s: float) -> float:
        return delay_s


def connect_packet(name: str) -> bytes:
    """MQTT 5, clean start, no keep-alive."""
    client = name.encode()
    rest = b"\0\x04MQTT\x05\x02\0\0\0" + struct.pack(">H", len(client)) + client
    return bytes([0x10, len(rest)]) + rest


class Device:
    """One device of the fleet."""

    def __init__(self, name: str, port: int, policy: ReconnectPolicy) -> None:
        self._packet, self._port, self._policy = connect_packet(name), port, policy
        self.is_online = False

    async def live(self) -> None:
        """Connect, again and again, as `MqttPublisher` does."""
        delays = backoff(RETRY_FIRST_S, RETRY_CAP_S)
        while True:
            end = await self._connection()
            if self._policy.must_search:
                self._policy.found(None)
            if self.is_online:
                self.is_online, delays = False, backoff(RETRY_FIRST_S, RETRY_CAP_S)
            await asyncio.sleep(self._policy.pause_s(end, next(delays)))

    async def _connection(self) -> BrokerError:
        start = self._policy.start()
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self._port), start.within_s)
        except OSError as failure:
            end = (BrokerBusy if isinstance(failure, TimeoutError) else BrokerAway)(str(failure))
            self._policy.unreachable(end)
            return end
        ended = Ended()
        try:
            writer.write(self._packet)
            await asyncio.wait_for(reader.readexactly(4), start.within_s)
            ended.answered, ended.connected_s = True, time.monotonic()
            self._policy.connected(ended)
            self.is_online = True
            while await reader.read(1024):
                pass
            ended.hung_up = True
        except TimeoutError:
            pass
        except (OSError, asyncio.IncompleteReadError):
            ended.hung_up = True
        finally:
            writer.transport.abort()
        self._policy.ended(ended)
        return (BrokerAway if ended.answered else BrokerBusy)("ended")


def devices(first: int, count: int, port: int, online: Synchronized[int], *, naive: bool) -> None:
    """Process: so many devices; `online` is kept up to date."""
    async def main() -> None:
        policy = NaivePolicy if naive else ReconnectPolicy
        fleet = [Device(f"d{first + number}", port, policy(Terms(is_v5=True))) for number in range(count)]
        lives = [asyncio.create_task(device.live()) for device in fleet]
        while not any(life.done() for life in lives):
            online.value = sum(device.is_online for device in fleet)
            await asyncio.sleep(LOOK_S)
        await asyncio.gather(*lives)
    asyncio.run(main())


def publishers(first: int, count: int, mqtt: MqttConfig, online: Synchronized[int]) -> None:
    """Process: so many publishers; `online` is kept up to date."""
    logging.disable()
    fleet = [MqttPublisher(configuration(mqtt), f"d{first + number}", SystemClock()) for number in range(count)]
    for publisher in fleet:
        publisher.start()
    while True:
        online.value = sum(publisher.status().connected for publisher in fleet)
        threading.Event().wait(LOOK_S)


class Limiter:
    """Begins connections to the broker in the order of their arrival, so many a second, and counts the arrivals.

    `hangs_up`: who would have to wait is hung up on.
    """

    def __init__(self, port: int, target: int, rate: float, attempts: Synchronized[int], *, hangs_up: bool) -> None:
        self._port, self._target, self._rate = port, target, rate
        self._attempts, self._most = attempts, rate * HANGS_UP_AFTER_S if hangs_up else float("inf")
        self._waiting: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._open: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    async def run(self, is_up: Event) -> None:
        """Follow `is_up`: whether there is a broker."""
        while True:
            while not is_up.is_set():
                await asyncio.sleep(PACE_S)
            server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=4096)
            began_s, begun = time.monotonic(), 0
            while is_up.is_set():
                due = int((time.monotonic() - began_s) * self._rate)
                while begun < due:      # an unused turn is lost
                    begun += 1
                    if self._waiting:
                        self._begin(*self._waiting.popleft())
                await asyncio.sleep(PACE_S)
            server.close()
            for one in (*self._open, *(writer for _, writer in self._waiting)):
                one.transport.abort()
            self._waiting.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._attempts.value += 1
        if len(self._waiting) < self._most:
            self._waiting.append((reader, writer))
        else:
            writer.close()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.create_task(self._pipe(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(4096):
            writer.write(content)
    writer.transport.abort()


def limit(port: int, target: int, rate: float, is_up: Event, attempts: Synchronized[int], *, hangs_up: bool) -> None:
    """Process: a limiter."""
    asyncio.run(Limiter(port, target, rate, attempts, hangs_up=hangs_up).run(is_up))


def seconds_until_all_are_back(case: Case, folder: Path, *, naive: bool) -> dict[str, object]:
    """Let all devices connect, take the broker away and bring it back."""
    share, is_up = case.devices // PROCESSES or case.devices, _SPAWN.Event()
    parts = range(case.devices // share)
    counts = [(_SPAWN.Value("l", 0), _SPAWN.Value("l", 0)) for _ in parts]
    places = [kept_port() for _ in parts]
    certificate, key = certify(folder) if case.kind == "tls" else (None, None)
    tls = f"\ncertfile {certificate}\nkeyfile {key}" if certificate else ""
    with running(folder, f"allow_anonymous true\nlog_type error\nmax_queued_messages 0{tls}") as broker:
        children = []
        for part, place, (online, attempts) in zip(parts, places, counts, strict=True):
            port = int(place.getsockname()[1])
            rate = case.rate / len(parts)
            children.append(_SPAWN.Process(
                target=limit, args=(port, broker.port, rate, is_up, attempts),
                kwargs={"hangs_up": case.kind == "hung_up"}, daemon=True))
            if case.kind == "plain":
                children.append(_SPAWN.Process(target=devices, args=(part * share, share, port, online),
                                               kwargs={"naive": naive}, daemon=True))
            else:
                mqtt = MqttConfig(host="127.0.0.1", port=port,
                                  tls=TlsConfig(ca_file=certificate) if certificate else None)
                children.append(_SPAWN.Process(target=publishers, args=(part * share, share, mqtt, online),
                                               daemon=True))
        for child in children:
            child.start()
        try:
            def online_now() -> int:
                return sum(int(online.value) for online, _ in counts)

            is_up.set()
            until_s = time.monotonic() + SHOWN_FOR_S
            while online_now() < case.devices and time.monotonic() < until_s:
                threading.Event().wait(LOOK_S)
            at_first = online_now()
            is_up.clear()
            threading.Event().wait(case.down_s)
            while online_now():
                threading.Event().wait(LOOK_S)
            before = sum(int(attempts.value) for _, attempts in counts)
            is_up.set()
            returned_s = time.monotonic()
            curve = {}
            while online_now() < case.devices and time.monotonic() < returned_s + SHOWN_FOR_S:
                threading.Event().wait(LOOK_S)
                curve[int(time.monotonic() - returned_s)] = online_now()
            took_s = time.monotonic() - returned_s
            back = online_now()
            attempts_made = sum(int(attempts.value) for _, attempts in counts) - before
        finally:
            for child in children:
                child.kill()
                child.join()
            for place in places:
                place.close()
    return {"devices": case.devices, "rate": case.rate, "down_s": case.down_s, "at_first": at_first, "back": back,
            "took_s": round(took_s, 1), "limit_s": case.within_s, "attempts": attempts_made,
            "curve": {at: count for at, count in curve.items() if at % 5 == 0},
            "right": back == case.devices and took_s <= case.within_s}


def cases(of: int, downs_s: list[float], slack_s: float) -> list[Case]:
    """One device alone, the crowd at two rates, and a tenth of it as publishers, each after these absences."""
    limits: list[tuple[Kind, int, int, float]] = [("plain", 1, 300, 5.0), ("tls", 1, 300, 5.0)]
    crowds: list[tuple[Kind, int]] = [("plain", of), ("tls", of // 10), ("hung_up", of // 10)]
    for kind, crowd in crowds:
        if crowd > 1:       # who is hung up on has no place in a queue
            quick_s, slow_s = (60.0, 180.0) if kind == "hung_up" else (30.0, 120.0)
            limits += [(kind, crowd, crowd // 10, quick_s), (kind, crowd, crowd * 3 // 100, slow_s)]
    return [Case(kind, count, rate, down_s, within_s + slack_s)
            for kind, count, rate, within_s in limits for down_s in downs_s]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000, help="of the crowd; the rates are in proportion")
    parser.add_argument("--down-s", type=float, action="append", help="seconds without a broker (2 and 120)")
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit")
    parser.add_argument("--kind", choices=get_args(Kind), help="only these cases")
    parser.add_argument("--naive", action="store_true", help="only where connections are simulated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/returning.json"))
    args = parser.parse_args()
    done: dict[str, dict[str, object]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for case in cases(args.devices, args.down_s or [2.0, 120.0], args.slack_s):
        name = str(case)
        if name in done or args.kind not in (None, case.kind):
            continue
        with tempfile.TemporaryDirectory() as folder:
            done[name] = seconds_until_all_are_back(case, Path(folder), naive=args.naive)
        args.state.write_text(json.dumps(done))
        print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = [f"{name}: {one}" for name, one in done.items() if not one["right"]]
    print(json.dumps({"campaign": "returning", "naive": args.naive, **done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
