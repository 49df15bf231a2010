"""`vedette tail`: prints the messages of devices as they arrive over MQTT, a line for each.

Where there is no broker, those of the daemons on this machine are printed, as their local sockets give them.

Invariants: the terminal gets only printable characters of what comes from the network; a message of unknown shape is
printed as it is and does not end the command.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import between
from vedette.cli.broker import (
    add_broker_arguments,
    connected,
    device_name,
    load_config,
    local_daemons,
    parsed,
    printable,
)
from vedette.errors import BrokerAway
from vedette.messages import payloads, topics
from vedette.messages.results import readable
from vedette.mqtt.command_filter import Incoming

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from vedette.serve.local.client import LocalClient

    Poll = Callable[[], list[Incoming]]

EXAMPLE = """examples:
  vedette tail --host broker.example
  vedette tail --config /etc/vedette/config.yaml gate-01 --json

exit codes:
   0  N messages were printed, or nobody reads the output any more.
  69  The broker cannot be used, and there is no such daemon on this machine.
  78  The configuration cannot be used."""

POLL_S = 0.5
FOLLOWED = (topics.AVAILABILITY, topics.CAMERA, topics.DETECTIONS, topics.EVENTS, topics.COUNTS, topics.ZONES,
            topics.HEALTH, topics.MODEL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("device", nargs="?", default="+", metavar="DEVICE", type=device_name,
                        help="print only the messages of this device (default: all devices)")
    add_broker_arguments(parser)
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object per line with the keys topic and payload")
    parser.add_argument("--count", type=between(int, 1, 10**9), metavar="N", help="stop after N messages")


def run(args: argparse.Namespace) -> int:
    """Print until interrupted. Raises: BrokerError or DaemonAway when the connection cannot be made or ends."""
    filters = [topics.absolute(args.device, topic) for topic in FOLLOWED]
    show = _json_line if args.json else _line
    with ExitStack() as stack:
        try:
            poll: Poll = partial(stack.enter_context(connected(load_config(args).mqtt, filters)).poll, POLL_S)
        except BrokerAway as away:
            poll = partial(_poll_daemons, local_daemons(away, args.device))
        left = args.count
        while left is None or left > 0:
            for incoming in poll()[:left]:
                print(show(incoming), file=sys.stdout, flush=True)
                left = None if left is None else left - 1
    return 0


def _poll_daemons(clients: Sequence[LocalClient]) -> list[Incoming]:
    """Return what the daemons have published since the last call. Raises: DaemonAway when one has ended."""
    return [Incoming(topics.absolute(client.device, topic), payloads.encode(payload))
            for client in clients for topic, payload in client.messages(POLL_S / len(clients)) if topic in FOLLOWED]


def _json_line(incoming: Incoming) -> str:
    return json.dumps({"topic": incoming.topic, "payload": parsed(incoming.payload)}, ensure_ascii=True)


def _line(incoming: Incoming) -> str:
    device, _, topic = incoming.topic.removeprefix(f"{topics.ROOT}/").partition("/")
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    payload = parsed(incoming.payload)
    try:
        text = _text(topic, payload)
    except (KeyError, TypeError, ValueError, AttributeError):
        text = str(payload)
    return printable(f"{now}  {device:<20} {topic:<13} {text}")


def _text(topic: str, payload: Any) -> str:
    """Return a message as text. Raises: KeyError, TypeError, ValueError, AttributeError when it has another shape."""
    match topic:
        case topics.DETECTIONS:
            return readable(payload)
        case topics.CAMERA:
            return f"{payload['state']} {payload['cause'] or ''}".rstrip()
        case topics.COUNTS:
            counts = payload["counts"]
            return "no detection" if counts is None else ", ".join(f"{n} {label}" for label, n in counts.items()) or "-"
        case topics.EVENTS:
            where = f" in {', '.join(payload['zones'])}" if payload["zones"] else ""
            return f"{payload['type']} {payload['id']} {payload['label']} {payload['score']:.2f}{where}"
        case topics.ZONES:
            zones = payload["zones"]
            return "not looking" if zones is None else "; ".join(
                f"{zone}: {', '.join(f'{n} {label}' for label, n in counts.items()) or '-'}"
                for zone, counts in zones.items()) or "-"
        case topics.HEALTH:
            reasons = ", ".join(reason["code"] for reason in payload["reasons"])
            return f"{payload['state']}  {payload['capture']['fps']:.1f} fps  {reasons}".rstrip()
        case topics.MODEL:
            return f"{payload['title'] or 'none'} {payload['installed_version'] or ''} {payload['state']}"
        case _:
            return str(payload)
