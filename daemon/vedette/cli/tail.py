"""`vedette tail`: prints the messages of devices as they arrive over MQTT, a line for each.

Invariants: the terminal gets only printable characters of what comes from the network; a message of unknown shape is
printed as it is and does not end the command.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import between
from vedette.cli.broker import add_broker_arguments, connected, device_name, load_config, parsed, printable
from vedette.messages import topics
from vedette.messages.results import readable

if TYPE_CHECKING:
    import argparse

    from vedette.mqtt.command_filter import Incoming

EXAMPLE = """examples:
  vedette tail --host broker.example
  vedette tail --config /etc/vedette/config.yaml gate-01 --json

exit codes:
   0  N messages were printed, or nobody reads the output any more.
  69  The broker cannot be used.
  78  The configuration cannot be used."""

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
    """Print until interrupted. Raises: BrokerError when the connection cannot be made or ends."""
    filters = [topics.absolute(args.device, topic) for topic in FOLLOWED]
    show = _json_line if args.json else _line
    left = args.count
    with connected(load_config(args).mqtt, filters) as connection:
        while left is None or left > 0:
            for incoming in connection.poll(0.5)[:left]:
                print(show(incoming), file=sys.stdout, flush=True)
                left = None if left is None else left - 1
    return 0


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
